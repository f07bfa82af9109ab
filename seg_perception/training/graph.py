"""The deploy graph: uint8 image in, uint8 labels and confidence out, everything between inside."""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seg_perception.training.networks import full_size

OPSET = 18
# It warns of every operator of torchvision, which is not needed.
logging.getLogger('torch.onnx._internal.exporter._registration').setLevel(logging.ERROR)
LEAST_LOGIT = -80.0
"""Logits relative to the pixel's largest are cut here: e^-80 is still a float32."""


class DeployNetwork(nn.Module):
    """A network with the contract of a model file around it.

    What runs at full resolution costs most, so little does. Subtracting each pixel's largest logit before upsampling
    changes neither labels nor probabilities (what is subtracted is upsampled alike for all classes) and keeps the
    exponentials in range; they order the classes as the logits do, and their share of the sum is the softmax.
    """

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = fold_norms(network)
        self.temperature = temperature

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 [N, H, W, 3] to uint8 labels [N, H, W] and uint8 confidence [N, H, W]."""
        dtype = next(self.network.parameters()).dtype
        logits = self.network(image.to(dtype).permute(0, 3, 1, 2)).float() * (1 / self.temperature)
        logits = (logits - logits.amax(1, keepdim=True)).clamp(min=LEAST_LOGIT)
        odds = full_size(logits, image.shape[1], image.shape[2]).exp()
        labels = odds.argmax(1, keepdim=True)
        # A product with ones and a gather: ONNX Runtime's reductions over a few classes take four times as long.
        total = odds.new_ones(1, odds.shape[1]) @ odds.flatten(2)
        confidence = 255.0 * odds.gather(1, labels) / total.unflatten(2, odds.shape[2:])
        return labels.squeeze(1).to(torch.uint8), (confidence + 0.5).squeeze(1).to(torch.uint8)


def fold_norms(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with every BatchNorm folded into the convolution before it."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i, (conv, norm) in enumerate(itertools.pairwise(list(module))):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network


def write_graph(deploy: DeployNetwork, height: int, width: int, path: Path) -> None:
    """Write an ONNX file with N dynamic and the size fixed."""
    # Two images, so that no dimension of size one is taken for a constant.
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            deploy.eval(),
            (example,),
            dynamo=True,
            input_names=['image'],
            output_names=['labels', 'confidence'],
            dynamic_shapes=({0: torch.export.Dim('N', min=1, max=64)},),
            opset_version=OPSET,
            verbose=False,
        )
    program.save(str(path), external_data=False)
    model = onnx.load(path)
    strip_traces(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def strip_traces(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on each node: they hold paths and source lines of the machine that exported."""
    graph = model.graph
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del item.metadata_props[:]
        item.doc_string = ''
