"""How the node's process starts ROS."""

from __future__ import annotations

import signal
import threading

import rclpy
from rclpy.signals import SignalHandlerOptions

from seg_perception.errors import ConfigError


def init_ros(args: list[str] | None) -> threading.Event:
    """Start ROS; return what SIGINT and SIGTERM set.

    rclpy's own handlers shut the context down under the feet of whatever is running, which then fails.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError: an unreadable parameter file, an unknown --ros-args option
        hint = '; write every number of a list with a point, such as 1.0' if 'of same type' in str(error) else ''
        raise ConfigError(f'ROS arguments cannot be used: {error}{hint}') from error
    return stop
