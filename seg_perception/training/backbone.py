"""MobileNetV2 (Sandler et al. 2018) as a feature pyramid, with torchvision's parameter names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seg_perception.errors import ConfigError, ModelError

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Per stage: expansion, channels, blocks, stride of the first block."""
_TAPS = (1, 3, 6, 13, 17)
"""Blocks whose outputs form the pyramid: strides 2, 4, 8, 16 and 32 (or the output stride)."""


class Pyramid(NamedTuple):
    """Features [N, C, H / stride, W / stride] of the five stages."""

    s2: Tensor
    s4: Tensor
    s8: Tensor
    s16: Tensor
    last: Tensor
    """At the output stride."""


def scaled_channels(channels: int, width: float) -> int:
    """Scale a channel count by the width multiplier to a multiple of 8, never losing more than a tenth."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution that stays in float32 under bf16 autocast on a CPU when it is dilated.

    There torch 2.13 now and then returns weight gradients with values of 1e24 and more (measured, 3 of 30 passes).
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or self.dilation[0] == 1 or not torch.is_autocast_enabled('cpu'):
            return super().forward(x)
        with torch.autocast('cpu', enabled=False):
            return super().forward(x.float())


def conv_bn_relu(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution that keeps the size but for its stride, BatchNorm, activation."""
    padding = (kernel - 1) // 2 * dilation
    kind = nn.Conv2d if groups == 1 else DepthwiseConv
    return nn.Sequential(
        kind(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        activation(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a skip where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        expand = [conv_bn_relu(inputs, hidden, activation=nn.ReLU6)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn_relu(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden, activation=nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


class MobileNetV2(nn.Module):
    """Backbone without the classifier and without the last 1x1 convolution before it."""

    def __init__(self, width: float = 1.0, output_stride: int = 16) -> None:
        """Build with random weights.

        Args:
            output_stride: 8, 16 or 32. Where a stride is traded for dilation, the block that lost its stride
                keeps the dilation of the one before it.

        Raises:
            ConfigError: `output_stride` or `width` is not usable.
        """
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f'output_stride is {output_stride}; expected 8, 16 or 32')
        if not 0.1 <= width <= 2.0:
            raise ConfigError(f'backbone width is {width}; expected 0.1..2.0')
        channels = scaled_channels(32, width)
        blocks: list[nn.Module] = [conv_bn_relu(3, channels, 3, stride=2, activation=nn.ReLU6)]
        self.channels: list[int] = []
        stride_now, dilation = 2, 1
        for expansion, base, count, first_stride in _STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                block_dilation = dilation
                if stride == 2 and stride_now >= output_stride:
                    stride, dilation = 1, dilation * 2
                stride_now *= stride
                outputs = scaled_channels(base, width)
                blocks.append(InvertedResidual(channels, outputs, stride, expansion, block_dilation))
                channels = outputs
                if len(blocks) - 1 in _TAPS:
                    self.channels.append(channels)
        self.features = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Pyramid:
        taps = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return Pyramid(*taps)


def load_backbone(backbone: MobileNetV2, path: Path) -> None:
    """Load ImageNet weights with torchvision's names from an .npz or a torch checkpoint.

    The classifier and `features.18`, which this backbone does not have, are ignored.

    Raises:
        ModelError: unreadable, or parameters are missing or of another shape.
    """
    try:
        if path.suffix == '.npz':
            with np.load(path) as arrays:
                state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f'{path}: cannot read backbone weights ({error}); give a .npz or .pth file') from error
    state = state.get('state_dict', state)
    own = {name: value for name, value in backbone.state_dict().items() if not name.endswith('num_batches_tracked')}
    missing = [name for name in own if name not in state]
    if missing:
        raise ModelError(
            f'{path}: {len(missing)} of {len(own)} backbone parameters are missing, first {missing[0]!r}; '
            "expected torchvision's mobilenet_v2 names"
        )
    wrong = [name for name, value in own.items() if state[name].shape != value.shape]
    if wrong:
        raise ModelError(
            f'{path}: {wrong[0]} is {tuple(state[wrong[0]].shape)}; expected {tuple(own[wrong[0]].shape)}; '
            'the weights are of another width'
        )
    backbone.load_state_dict({name: state[name] for name in own}, strict=False)
