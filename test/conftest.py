"""For all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

OLD = int(pytest.__version__.split('.')[0]) < 7
"""Ubuntu 22.04 has pytest 6, whose hooks and nodes know paths of another kind only."""


def _module(path, parent):
    """Keep launch_testing to test/launch: it imports every module by itself, and one that skips would skip its whole folder."""
    if Path(path).parent.name == 'launch':
        return None
    return pytest.Module.from_parent(parent, **{'fspath' if OLD else 'path': path})


if OLD:

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(path, parent):
        return _module(path, parent)

else:

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        return _module(module_path, parent)
