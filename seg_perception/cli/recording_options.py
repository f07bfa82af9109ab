"""Command-line options that say how to read a recording; shared by `play` and `process`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Function = Callable[..., Any]


class SixNumbers(click.ParamType):  # type: ignore[type-arg]  # Ubuntu's click 8.0 and 8.1 have no generic one
    """Six numbers with commas between them."""

    name = 'X,Y,Z,ROLL,PITCH,YAW'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(v) for v in str(value).split(','))
        except ValueError:
            numbers = ()
        if len(numbers) != 6:
            self.fail(f'{value!r} is not six numbers x,y,z,roll,pitch,yaw in metres and radians', param, ctx)
        return numbers


HOOD_HELP = "Share of the image's height, from its bottom, that shows the vehicle itself; nothing is concluded from it."

OPTIONS = (
    click.option('--topic', 'topics', multiple=True, metavar='TOPIC', help='Image topic of a bag; may be repeated.'),
    click.option('--all-topics', is_flag=True, help='Take every image topic of a bag.'),
    click.option('--camera', metavar='NAME', help="Name of the only camera; default: from a bag's topic, else front."),
    click.option(
        '--camera-info', type=click.Path(path_type=Path), help='Calibration YAML; default: that of the recording.'
    ),
    click.option('--extrinsics', type=SixNumbers(), help='Camera mounting in the vehicle (m, rad); default: TF.'),
    click.option('--fps', 'rate_hz', type=float, help='Frames per second of a folder (default 10) or video.'),
    click.option('--odom-topic', metavar='TOPIC', help='Odometry topic of a bag; default: the only one.'),
    click.option('--vehicle-frame', default='base_link', show_default=True, help='TF frame of the vehicle.'),
)


def recording_options(function: Function) -> Function:
    """Add the options; the command takes them as the keywords of `RecordingOptions`."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
