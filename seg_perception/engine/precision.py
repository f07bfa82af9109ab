"""Which precision a TensorRT plan really computes in, as opposed to what was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from seg_perception.engine.trt_api import layer_types

PRECISIONS = ('fp32', 'fp16', 'int8')

_TOKENS = {
    'int8': ('int8',),
    'fp16': ('half', 'fp16', 'float16'),
    'bf16': ('bf16', 'bfloat16'),
    'fp32': ('float', 'fp32', 'float32', 'tf32'),
}
"""Names of a type in the inspector's text, in the order in which the narrowest of a layer's types is looked for."""


class Achieved(NamedTuple):
    """Shares of a plan's layers by the narrowest type that they read or write."""

    shares: Mapping[str, float]
    """Share 0..1 of the layers that compute in fp32, fp16, bf16 or int8; empty when the plan does not tell."""
    layers: int
    """Number of layers that have such a type; shape and index arithmetic is left out."""

    def describe(self) -> str:
        """Return e.g. 'int8 61 %, fp16 39 %', or 'unknown'."""
        ordered = sorted(self.shares.items(), key=lambda item: -item[1])
        return ', '.join(f'{name} {share:.0%}'.replace('%', ' %') for name, share in ordered) or 'unknown'

    def missed(self, asked: str) -> bool:
        """Return whether another precision than `asked` has the largest share."""
        return bool(self.shares) and max(self.shares, key=lambda name: self.shares[name]) != asked


def from_inspector(text: str) -> Achieved:
    """Summarise the JSON of `EngineInspector.get_engine_information` of a plan built with detailed verbosity.

    Text that is not such JSON gives an empty summary: it is a report, and no reason not to drive the engine.
    """
    try:
        layers = json.loads(text).get('Layers', [])
    except (ValueError, AttributeError):
        layers = []
    return _summary([layer_types(layer) for layer in layers if isinstance(layer, dict)])


def from_network(network: Any) -> Achieved:
    """Summarise a parsed, strongly typed network: what a faithful build of it must compute in.

    A layer counts by the type it reads, so that a quantised convolution, which reads what its DequantizeLinear
    returns, counts as int8.
    """
    types = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        kind = layer.type.name
        if kind not in ('CONVOLUTION', 'DECONVOLUTION', 'MATRIX_MULTIPLY'):
            continue
        source = _producer(network, layer.get_input(0).name)
        types.append(['int8' if source == 'DEQUANTIZE' else layer.get_input(0).dtype.name])
    return _summary(types)


def _producer(network: Any, tensor: str) -> str:
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if any(layer.get_output(k).name == tensor for k in range(layer.num_outputs)):
            return str(layer.type.name)
    return 'INPUT'


def _summary(layers: list[Any]) -> Achieved:
    counts: dict[str, int] = {}
    for types in layers:
        name = _narrowest(types)
        if name:
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    return Achieved({name: count / total for name, count in counts.items()}, total)


def _narrowest(types: list[str]) -> str | None:
    words = {word.lower() for text in types for word in text.replace(',', ' ').split()}
    return next((name for name, tokens in _TOKENS.items() if words & set(tokens)), None)
