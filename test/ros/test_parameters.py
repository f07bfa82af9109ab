"""Parameters: the file and the documentation agree with the dataclasses, which alone hold the defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_perception.errors import ConfigError
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.parameters import build, options
from seg_perception.ros.status import CameraStatus

ROOT = Path(__file__).parent.parent.parent
NODE = list(options(NodeConfig))
CAMERA = list(options(CameraConfig))


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_parameter_file_lists_every_parameter_with_its_default():
    """With the `#` taken away from its settings, the file says what the dataclasses say."""
    lines = (ROOT / 'config/params.yaml').read_text().splitlines()
    setting = re.compile(r'^(\s+)# ([a-z_0-9]+:( \S.*)?)$')
    text = '\n'.join(setting.sub(r'\1\2', line) for line in lines)
    found = yaml.safe_load(text)['/**']['ros__parameters']
    expected: dict[str, Any] = {}
    for o in NODE:
        group, _, name = o.name.rpartition('.')
        (expected.setdefault(group, {}) if group else expected)[name] = plain(o.default)
    expected['front'] = {o.name: plain(o.default) for o in CAMERA}
    assert found == expected


def test_parameter_file_as_shipped_changes_nothing():
    given = yaml.safe_load((ROOT / 'config/params.yaml').read_text())['/**']['ros__parameters']
    assert given == {'cameras': ['front']}


def test_documentation_lists_every_parameter_with_its_default():
    rows = re.findall(r'^\| `([^`]+)` \| `([^`]*)` \|', (ROOT / 'docs/ros.md').read_text(), re.MULTILINE)
    documented = {name: yaml.safe_load(default) for name, default in rows}
    expected = {o.name: plain(o.default) for o in NODE}
    expected |= {f'<camera>.{o.name}': plain(o.default) for o in CAMERA}
    assert {k: v for k, v in documented.items() if k in expected} == expected


def test_documentation_lists_every_counter_of_a_camera():
    table = (ROOT / 'docs/ros.md').read_text().partition('| counter of a camera |')[2].partition('\n\n')[0]
    documented = {name for row in table.splitlines()[2:] for name in re.findall('`([a-z ]+)`', row.split('|')[1])}
    assert documented == {kind.replace('_', ' ') for kind in CameraStatus.COUNTERS}


@pytest.mark.parametrize('option', [*NODE, *CAMERA], ids=lambda o: o.name)
def test_every_parameter_is_described_and_its_default_lies_in_its_range(option):
    assert option.text.endswith('.')
    if option.low is not None:
        assert option.low <= option.default <= option.high
    if option.choices:
        assert option.default in option.choices


@pytest.mark.parametrize('option', [o for o in options(NodeConfig) if o.choices], ids=lambda o: o.name)
def test_a_choice_written_without_quotes_stays_a_string(option):
    """YAML reads `off` as a boolean, and rclpy refuses that for a string."""
    assert [yaml.safe_load(c) for c in option.choices] == list(option.choices)


def test_values_build_the_configuration_they_came_from():
    config = build(NodeConfig, {o.name: o.default for o in NODE})
    assert config == NodeConfig()


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'cameras': ()}, 'cameras is empty'),
        ({'cameras': ('front left',)}, "cameras has 'front left'"),
        ({'cameras': ('grid',)}, "cameras has 'grid'"),
        ({'image_timeout_s': 0.0}, 'image_timeout_s is 0.0; expected 0.05 to 60.0'),
    ],
)
def test_configuration_refuses(values, text):
    with pytest.raises(ConfigError, match=text):
        NodeConfig(**values)


def test_a_mounting_in_degrees_is_refused():
    CameraConfig(extrinsics=(1.0, 0.0, 1.4, 0.0, 0.1, -3.2))
    with pytest.raises(ConfigError, match='expected radians, not degrees'):
        CameraConfig(extrinsics=(1.0, 0.0, 1.4, 0.0, 0.1, 90.0))
