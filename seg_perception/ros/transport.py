"""DDS settings of this process and its children: big images through shared memory, and a domain of their own."""

from __future__ import annotations

import contextlib
import os

from seg_perception.errors import ConfigError
from seg_perception.paths import share_file

PROFILE = 'config/fastdds_shm.xml'
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Read by Fast DDS 2 (Humble, Jazzy) and by Fast DDS 3."""


def use_large_segment() -> None:
    """Let this process send big images through shared memory; call before rclpy.init.

    A profile that the environment already names is left alone. Other middlewares ignore the variables.
    """
    with contextlib.suppress(ConfigError):  # not installed: the defaults work, with losses that `doctor` explains
        profile = str(share_file(PROFILE))
        for variable in VARIABLES:
            os.environ.setdefault(variable, profile)


def send_in_background() -> None:
    """Let this process hand what it publishes to other processes from a thread of Fast DDS; call before rclpy.init.

    A mode that the environment already names is left alone. Other middlewares ignore the variable.
    """
    os.environ.setdefault('RMW_FASTRTPS_PUBLICATION_MODE', 'ASYNCHRONOUS')


def use_own_domain() -> None:
    """Keep this process and its children among themselves on this machine; call before rclpy.init."""
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 100 + 1)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    use_large_segment()
