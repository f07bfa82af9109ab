"""Launch tests need an installed package and ROS's launch tools; without them they are skipped with the reason."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import pytest

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)


def pytest_collection_modifyitems(items):
    """What launch leaves open may be collected while its own test still runs, too."""
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:  # pytest 6 has no `path`
            item.add_marker(pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'))


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
