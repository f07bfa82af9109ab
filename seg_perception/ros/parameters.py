"""ROS parameters declared by walking the configuration dataclasses, so that each default exists once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    InvalidTopicNameException,
    ParameterUninitializedException,
)
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from seg_perception.errors import ConfigError
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.descriptions import GROUPS

ARRAYS = {tuple[str, ...]: Parameter.Type.STRING_ARRAY, tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY}
NOT_OURS = ('qos_overrides.', 'use_sim_time', 'start_type_description_service')


class Option(NamedTuple):
    """One parameter as it is declared and documented."""

    name: str
    type: Any
    default: Any
    text: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool
    """Can be changed while the node runs."""


def options(cls: type, prefix: str = '') -> Iterator[Option]:
    """Yield the options of a configuration class, nested ones with dotted names."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            yield from options(hints[f.name], f'{prefix}{f.name}.')
        else:
            yield _option(f, hints[f.name], prefix)


def _option(f: Field[Any], kind: Any, prefix: str) -> Option:
    default = f.default_factory() if callable(f.default_factory) else f.default
    m = f.metadata or GROUPS[prefix.rstrip('.')][f.name]
    return Option(
        prefix + f.name, kind, default, m['text'], m['low'], m['high'], tuple(m.get('choices', ())), m['live']
    )


def descriptor(option: Option) -> ParameterDescriptor:
    """Return what `ros2 param describe` shows; ranges and read-only are enforced by rclpy."""
    out = ParameterDescriptor(description=option.text, read_only=not option.live)
    if option.choices:
        out.additional_constraints = f'one of: {", ".join(option.choices)}'
    if option.low is not None and option.high is not None:
        if option.type is int:
            out.integer_range = [IntegerRange(from_value=int(option.low), to_value=int(option.high), step=0)]
        else:
            out.floating_point_range = [FloatingPointRange(from_value=float(option.low), to_value=float(option.high))]
    return out


def declare(node: Any) -> tuple[NodeConfig, dict[str, CameraConfig]]:
    """Declare all parameters and read them.

    Raises:
        ConfigError: a value of the wrong type or out of range, or a parameter that does not exist.
    """
    values = {o.name: _declare_one(node, o) for o in options(NodeConfig)}
    config: NodeConfig = build(NodeConfig, values)
    cameras = {}
    for name in config.cameras:
        own = {o.name: _declare_one(node, o._replace(name=f'{name}.{o.name}')) for o in options(CameraConfig)}
        try:
            cameras[name] = build(CameraConfig, own)
            for topic in ('image_topic', 'info_topic'):
                check_topic(topic, getattr(cameras[name], topic))
        except ConfigError as error:
            raise ConfigError(f'{name}.{error}') from error
    _refuse_unknown(node, config)
    return config, cameras


def check_topic(what: str, topic: str) -> None:
    """Check a topic's name; '' is none.

    Raises:
        ConfigError: ROS does not take it.
    """
    try:
        if topic:
            validate_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = str(error).splitlines()[0].removeprefix('Invalid topic name: ')
        raise ConfigError(f'{what} is {topic!r}; {reason}') from error


def build(cls: type, values: dict[str, Any], prefix: str = '') -> Any:
    """Build a configuration from dotted names; the dataclasses check the values.

    Raises:
        ConfigError: a value is out of range.
    """
    hints = get_type_hints(cls)
    return cls(
        **{
            f.name: build(hints[f.name], values, f'{prefix}{f.name}.')
            if is_dataclass(hints[f.name])
            else values[prefix + f.name]
            for f in fields(cls)
        }
    )


def changed(config: NodeConfig, parameters: list[Any]) -> NodeConfig:
    """Return `config` with new values of live parameters; parameters of others are left alone.

    Raises:
        ConfigError: the new values do not go together.
    """
    values = {o.name: _value(config, o.name) for o in options(NodeConfig)}
    values.update({p.name: p.value for p in parameters if p.name in values})
    new: NodeConfig = build(NodeConfig, values)
    return new


def _value(config: Any, name: str) -> Any:
    for part in name.split('.'):
        config = getattr(config, part)
    return config


def _declare_one(node: Any, option: Option) -> Any:
    array = ARRAYS.get(option.type)
    # An empty list has no type that rclpy could infer, so that one is declared by its type.
    default = array if array is not None and not option.default else option.default
    try:
        value = node.declare_parameter(
            option.name, list(default) if isinstance(default, tuple) else default, descriptor(option)
        ).value
    except ParameterUninitializedException:
        return option.default
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        hint = ''
        if isinstance(error, InvalidParameterTypeException) and option.type in (float, tuple[float, ...]):
            hint = '; write every number with a point, such as 1.0'
        raise ConfigError(f'parameter {option.name} cannot be set: {error}{hint}') from error
    if value is None:
        return option.default
    return tuple(value) if array is not None else value


def _refuse_unknown(node: Any, config: NodeConfig) -> None:
    """Refuse parameters of a file or command line that do not exist: a misspelt one would keep its default unseen."""
    known = [o.name for o in options(NodeConfig)]
    known += [f'{c}.{o.name}' for c in config.cameras for o in options(CameraConfig)]
    for name in node._parameter_overrides:  # rclpy has no public way to read them
        if name not in known and not name.startswith(NOT_OURS):
            close = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean {close[0]}?' if close else 'see docs/ros.md for all parameters'
            raise ConfigError(f'parameter {name} does not exist; {hint}')
