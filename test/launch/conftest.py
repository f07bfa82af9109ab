"""Launch tests need an installed package and ROS's launch tools; without them they are skipped with the reason."""

from __future__ import annotations

import gc
import os
import warnings

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)


def collect_quietly():
    """Collect the event loops and pipes that launch leaves open here, where their warnings are no errors."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)
        gc.collect()


def pytest_runtest_teardown(nextitem):
    """Before the next test, whose fault it is not."""
    collect_quietly()


def pytest_sessionfinish():
    """And after the last one."""
    collect_quietly()
