"""For all tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path, parent):
    """Keep launch_testing to test/launch: it imports every module by itself, and one that skips would skip its whole folder."""
    if module_path.parent.name == 'launch':
        return None
    return pytest.Module.from_parent(parent, path=module_path)
