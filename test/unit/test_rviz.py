"""RViz sees what the node publishes, in whatever namespace and on whatever clock the launch file puts both."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULES = (
    'launch',
    'launch.actions',
    'launch.conditions',
    'launch.substitutions',
    'launch_ros',
    'launch_ros.actions',
    'launch_ros.substitutions',
)


class Configuration:
    """Stands in for launch.substitutions.LaunchConfiguration."""

    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context.get(self.name, '')

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and other.name == self.name


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The launch file over stand-ins for ROS's launch tools, which are not on PyPI."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.setattr(sys.modules['launch.substitutions'], 'LaunchConfiguration', Configuration)
    monkeypatch.setattr(sys.modules['launch_ros.actions'], 'Node', lambda **kwargs: kwargs)
    spec = importlib.util.spec_from_file_location('perception_launch', ROOT / 'launch' / 'perception.launch.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def topics(part: Any) -> Iterator[str]:
    """Yield the `Value` of every topic of an RViz configuration."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key.endswith('Topic') and isinstance(value, dict):
                yield value['Value']
            yield from topics(value)
    elif isinstance(part, list):
        for value in part:
            yield from topics(value)


def test_topics_follow_the_namespace() -> None:
    found = list(topics(yaml.safe_load((ROOT / 'config' / 'seg_perception.rviz').read_text())))
    assert len(found) == 11
    assert all(topic.startswith('seg_perception/') for topic in found), found


@pytest.mark.parametrize(('given', 'sim_time'), [('true', True), ('', False)])
def test_rviz_has_the_namespace_and_the_clock_of_the_node(launch_file: Any, given: str, sim_time: bool) -> None:
    context = {'use_sim_time': given, 'params_file': str(ROOT / 'config' / 'params.yaml')}
    nodes = {node['package']: node for node in launch_file.nodes(context)}
    perception, rviz = nodes['seg_perception'], nodes['rviz2']
    assert perception['namespace'] == rviz['namespace'] == Configuration('namespace')
    assert rviz['parameters'] == [{'use_sim_time': sim_time}]
    assert perception['parameters'][1] == ({'use_sim_time': True} if given else {})
