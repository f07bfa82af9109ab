"""The achieved precision as the engine inspector of each TensorRT generation tells it."""

from __future__ import annotations

import json

import pytest

from seg_perception.engine.precision import Achieved, from_inspector


def layer(key: str, *types: str) -> dict:
    """A layer whose inputs and output have these types."""
    tensors = [{'Name': 'x', 'Dimensions': [1, 8], key: t} for t in types]
    return {'Name': 'l', 'LayerType': 'kgen', 'Inputs': tensors[:-1], 'Outputs': tensors[-1:]}


@pytest.mark.parametrize(
    ('key', 'int8', 'half', 'full'),
    [
        ('Format/Datatype', 'Int8', 'Half', 'Float'),
        (
            'Format/Datatype',
            'Thirty-two wide channel vectorized row major Int8 format',
            'Channel major FP16 format where channel % 8 == 0',
            'Row major linear FP32 format',
        ),
        ('DataType', 'INT8', 'Half', 'Float'),
        ('Datatype', 'Int8', 'Float16', 'Float32'),
    ],
)
def test_layers_count_by_their_narrowest_type(key: str, int8: str, half: str, full: str) -> None:
    layers = [
        layer(key, int8, half),
        layer(key, half, half),
        layer(key, half, full),
        layer(key, full, full),
        layer(key, 'Int64', 'Int64'),
    ]
    achieved = from_inspector(json.dumps({'Layers': layers, 'Bindings': ['image']}))
    assert achieved == Achieved({'int8': 0.25, 'fp16': 0.5, 'fp32': 0.25}, 4)
    assert achieved.describe() == 'fp16 50 %, int8 25 %, fp32 25 %'
    assert not achieved.missed('fp16')
    assert achieved.missed('int8')


@pytest.mark.parametrize('text', ['', 'no json', '[]', '{"Layers": ["a", "b"]}', '{"Layers": []}'])
def test_a_plan_that_does_not_tell_is_unknown_and_misses_nothing(text: str) -> None:
    achieved = from_inspector(text)
    assert achieved.describe() == 'unknown'
    assert not achieved.missed('fp16')
