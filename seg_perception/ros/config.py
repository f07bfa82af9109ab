"""Every parameter of the node and its default; the grid's are in `seg_perception.grid.GridConfig`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from seg_perception.engine import BACKENDS
from seg_perception.errors import ConfigError
from seg_perception.grid import GridConfig
from seg_perception.io.recording import CAMERA_NAME
from seg_perception.postprocess import ContourConfig, LaneConfig, RegionConfig

ODOMETRY = ('topic', 'tf', 'none')
SIZES = ('network', 'camera')


def option(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """Return a dataclass field that says what the parameter means, what it may be, and whether it may change live."""
    return field(default=default, metadata={'text': text, 'low': low, 'high': high, 'choices': choices, 'live': live})


def check_options(config: Any) -> None:
    """Check every `option` of a dataclass against its range or choices.

    Raises:
        ConfigError: a value is outside; names the parameter, the value and the range.
    """
    for f in fields(config):
        value, low, high = getattr(config, f.name), f.metadata.get('low'), f.metadata.get('high')
        choices = f.metadata.get('choices')
        if choices and value not in choices:
            raise ConfigError(f'{f.name} is {value!r}; expected one of {", ".join(choices)}')
        if low is not None and not low <= value <= high:
            raise ConfigError(f'{f.name} is {value}; expected {low} to {high}')


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera; its parameters are called `<camera>.<name>`."""

    image_topic: str = option('', 'Image topic; empty for <camera>/image_raw, or .../compressed with `compressed`.')
    info_topic: str = option('', 'CameraInfo topic; empty for <camera>/camera_info.')
    compressed: bool = option(False, 'Subscribe to sensor_msgs/CompressedImage (JPEG or PNG) in place of Image.')
    extrinsics: tuple[float, ...] = option(
        (),
        'Mounting of the camera body (x forward) in base_frame: x, y, z in metres, roll, pitch, yaw in radians, '
        'positive pitch looking down. Empty: the pose comes from TF.',
    )
    hood: float = option(
        0.0,
        "Share of the image's height, from its bottom, that shows the vehicle itself: void in all outputs, no evidence.",
        low=0.0,
        high=0.9,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.extrinsics) not in (0, 6) or not all(math.isfinite(v) for v in self.extrinsics):
            raise ConfigError(
                f'extrinsics is {list(self.extrinsics)}; expected 6 finite numbers x, y, z (m), roll, pitch, yaw (rad), '
                'or nothing for TF'
            )
        if any(abs(angle) > 2 * math.pi for angle in self.extrinsics[3:]):
            raise ConfigError(f'extrinsics has angles {list(self.extrinsics[3:])}; expected radians, not degrees')


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The node's parameters besides those of each camera."""

    cameras: tuple[str, ...] = option(
        ('front',), 'Names of the cameras; each has parameters and topics under its name.'
    )
    model: str = option('', 'Path of an ONNX model of `seg_perception export`; empty for the shipped fast one.')
    backend: str = option(
        'auto',
        'auto: TensorRT when it works, else ONNX Runtime; tensorrt: never falls back; onnxruntime.',
        choices=BACKENDS,
    )
    max_batch: int = option(4, 'Most cameras in one run of the engine; more cameras take turns.', low=1, high=16)
    threads: int = option(0, 'CPU threads of the engine; 0 for one per core.', low=0, high=256)
    autostart: bool = option(True, 'Configure and activate at start; false leaves it to a lifecycle manager.')
    base_frame: str = option('base_link', 'Vehicle frame: x forward, y left, z up (REP 105).')
    odom_frame: str = option('odom', 'Frame of the grid when there is odometry (REP 105).')
    odometry: str = option(
        'topic',
        'Motion compensation of the grid. topic: nav_msgs/Odometry on `odom`, when it comes; tf: odom_frame to '
        'base_frame; none: one grid per frame in base_frame.',
        choices=ODOMETRY,
    )
    odometry_timeout_s: float = option(
        0.2, 'Longest time that odometry or TF is extrapolated to an image.', low=0.0, high=5.0, live=True
    )
    image_timeout_s: float = option(
        1.0, 'A camera silent for longer is stale; the grid turns unknown when all are.', low=0.05, high=60.0, live=True
    )
    output_size: str = option(
        'network', 'Size of label images, masks and confidence: network, or camera (nearest).', choices=SIZES, live=True
    )
    overlay_alpha: float = option(0.5, 'Weight of the class colours in the overlay.', low=0.0, high=1.0, live=True)
    diagnostics_period_s: float = option(1.0, 'Time between messages on /diagnostics.', low=0.1, high=60.0)
    grid: GridConfig = field(default_factory=GridConfig)
    regions: RegionConfig = field(default_factory=RegionConfig)
    contours: ContourConfig = field(default_factory=ContourConfig)
    lanes: LaneConfig = field(default_factory=LaneConfig)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.cameras:
            raise ConfigError('cameras is empty; name at least one camera, e.g. cameras: [front]')
        for name in self.cameras:
            if not CAMERA_NAME.fullmatch(name) or name in {f.name for f in fields(self)}:
                raise ConfigError(
                    f'cameras has {name!r}; expected a name of letters, digits and _ that starts with a letter and is '
                    'no parameter of the node'
                )
            if self.cameras.count(name) > 1:
                raise ConfigError(f'cameras names {name!r} twice; give each camera its own name')
