"""`seg_perception play`: a recording as a live camera."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import click
from tqdm import tqdm

from seg_perception.cli.recording_options import recording_options
from seg_perception.errors import ConfigError, RecordingError
from seg_perception.io import messages
from seg_perception.io.recording import Recording, RecordingOptions, TimedMessage, open_recording
from seg_perception.io.spool import Spool

EPILOG = """\b
Examples:
  seg_perception play drive.mp4 --camera front
  seg_perception play frames/ --fps 20 --loop
  seg_perception play bag/ --clock          (the node needs use_sim_time:=true)
  seg_perception play scene:7               (a synthetic drive, made from seed 7)
"""


@click.command('play', epilog=EPILOG)
@click.argument('source', metavar='INPUT')
@click.option('--rate', default=1.0, show_default=True, help='Speed; 2 plays twice as fast.')
@click.option('--loop', is_flag=True, help='Begin again at the end.')
@click.option('--clock', is_flag=True, help='Publish /clock and keep the recorded stamps; default: stamps of now.')
@click.option('--wait', 'wait_s', default=0.0, help='Seconds to wait for subscribers of the images.')
@click.option('--subscribers', default=1, show_default=True, help='Subscribers of each image topic to wait for.')
@recording_options
def command(source: str, rate: float, loop: bool, clock: bool, wait_s: float, subscribers: int, **options: Any) -> None:
    """Publish INPUT as a live camera: images, camera_info, TF and odometry.

    INPUT is a rosbag2 (mcap or sqlite3), a rosbag1, a video, a folder of frames, or scene:SEED. Of a bag every image
    topic is played. Ends with exit code 0, also on Ctrl-C.
    """
    try:
        from seg_perception.ros.player import PlayConfig, play
    except ImportError as error:
        raise ConfigError(
            f'rclpy cannot be imported ({error}); source your ROS 2 setup, or pip install -r requirements/ros.txt'
        ) from error
    config = PlayConfig(rate=rate, loop=loop, clock=clock, wait_s=wait_s, subscribers=subscribers)
    chosen = RecordingOptions(**options)
    recording = open_recording(source, replace(chosen, all_topics=chosen.all_topics or not chosen.topics))
    total = None if loop else recording.frame_count
    with contextlib.ExitStack() as stack:
        stack.callback(recording.close)
        playable: Spool | Recording = recording
        if recording.kind == 'scene':
            playable = _rendered(recording)
            stack.callback(playable.close)
        bar = stack.enter_context(tqdm(total=total, unit='frame', desc='playing', disable=None))
        played = play(playable, config, bar.update)
    for reason in dict.fromkeys(played.left_out.values()):
        topics = [topic for topic, why in played.left_out.items() if why == reason]
        click.echo(f'not played: {", ".join(topics)}: {reason}', err=True)
    for problem in recording.problems:
        click.echo(f'warning: {problem}', err=True)
    if not played.images and not played.interrupted:
        raise RecordingError(f'{source}: no image could be played; what was left out is above')
    late = f', {played.late} of them more than 50 ms late' if played.late else ''
    topics = [t.topic for t in recording.image_topics]
    later = played.images - len(topics)  # the time runs from the first image of each
    rate_text = f' ({later / played.seconds:.1f} per second)' if played.seconds > 0 and later > 0 else ''
    click.echo(f'{source}: {played.images} images{rate_text} on {", ".join(topics)}{late}')


def _rendered(recording: Recording) -> Spool:
    """Render a synthetic drive completely before it is played: rendering takes longer than a frame's time."""
    click.echo(f'{recording.source}: rendering {recording.frame_count} images, then they are played')
    with tqdm(total=recording.frame_count, unit='frame', desc='rendering', disable=None) as bar:

        def count(message: TimedMessage) -> None:
            bar.update(message.msgtype == messages.IMAGE)

        return Spool(recording, count)
