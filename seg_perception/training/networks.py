"""DeepLabV3+, U-Net and FCN on a MobileNetV2 backbone, behind `build_network`.

All take float images [N, 3, H, W], RGB 0..255, and return logits [N, C, h, w] with h <= H; `full_size` brings them to
the image's size. H and W are multiples of 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_perception.errors import ConfigError
from seg_perception.training.backbone import MobileNetV2, conv_bn_relu

MEAN = STD = 127.5
"""Normalisation of the ImageNet weights, baked into the network."""
MOST_LIFT = 12.0
"""Largest bend of the tone curve: black's surroundings become at most 13 times as bright."""


def full_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Upsample logits bilinearly to [N, C, height, width], both whole multiples of the logits' own."""
    # A factor, not a size: it is a constant of the exported graph, where a size would depend on N.
    factor = (height // logits.shape[2], width // logits.shape[3])
    if factor == (1, 1):
        return logits
    return F.interpolate(logits, scale_factor=factor, mode='bilinear', align_corners=False)


def separable(inputs: int, outputs: int, dilation: int = 1) -> nn.Sequential:
    """Atrous separable 3x3 convolution of DeepLabV3+."""
    return nn.Sequential(
        conv_bn_relu(inputs, inputs, 3, dilation=dilation, groups=inputs),
        conv_bn_relu(inputs, outputs),
    )


class Normalise(nn.Module):
    """Bring images 0..255 to the range of the ImageNet weights; dark ones are brightened first.

    The tone curve is x (1 + k) / (1 + k x) on 0..1, with the k that maps the image's mean to `exposure`; images whose mean
    is above stay as they are. It needs no power, so it costs a multiplication and a division a pixel.
    """

    def __init__(self, exposure: float) -> None:
        super().__init__()
        self.exposure = exposure

    def forward(self, image: Tensor) -> Tensor:
        if self.exposure == 0:
            return (image - MEAN) / STD
        # Every eighth pixel each way tells the mean; in float32, because its sum overflows a half.
        mean = image[:, :, ::8, ::8].float().mean((1, 2, 3), keepdim=True) / 255
        lift = (self.exposure - mean) / (mean * (1 - self.exposure) + 1e-3)
        lift = lift.clamp(0.0, MOST_LIFT).to(image.dtype)
        return image * (1 + lift) / (255 + lift * image) * (255 / STD) - MEAN / STD


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2018): five views of the same features, from 1x1 to the image."""

    def __init__(self, inputs: int, outputs: int, output_stride: int) -> None:
        super().__init__()
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
        self.branches = nn.ModuleList(
            [conv_bn_relu(inputs, outputs), *(separable(inputs, outputs, rate) for rate in rates)]
        )
        # No BatchNorm: after pooling there is one value per image, and a batch of one has no variance.
        self.pool = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(conv_bn_relu(5 * outputs, outputs), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))


class DeepLabV3Plus(nn.Module):
    """Encoder with ASPP and a decoder that adds the stride-4 features (Chen et al. 2018, arXiv 1802.02611)."""

    def __init__(self, backbone: MobileNetV2, normalise: Normalise, classes: int, output_stride: int) -> None:
        super().__init__()
        channels = 128
        self.normalise = normalise
        self.backbone = backbone
        self.aspp = Aspp(backbone.channels[4], channels, output_stride)
        self.low = conv_bn_relu(backbone.channels[1], 32)
        self.decoder = nn.Sequential(separable(channels + 32, channels), separable(channels, channels))
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(self.normalise(image))
        context = self.aspp(features.last)
        low = self.low(features.s4)
        context = full_size(context, low.shape[2], low.shape[3])
        return self.classifier(self.decoder(torch.cat([context, low], 1)))


class UNet(nn.Module):
    """Decoder of learned transposed convolutions with skips at every stride (Ronneberger et al. 2015)."""

    def __init__(self, backbone: MobileNetV2, normalise: Normalise, classes: int) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        skips = backbone.channels[3::-1]
        widths = [128, 128, 64, 32]
        inputs = [backbone.channels[4], *widths[:-1]]
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, w, 2, 2) for i, w in zip(inputs, widths, strict=True))
        self.merge = nn.ModuleList(separable(w + s, w) for w, s in zip(widths, skips, strict=True))
        self.classifier = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(self.normalise(image))
        x = features.last
        for up, merge, skip in zip(self.up, self.merge, features[3::-1], strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.classifier(x)


class FCN(nn.Module):
    """FCN-8s: class scores at strides 32, 16 and 8, summed on the way up (Long et al. 2015)."""

    def __init__(self, backbone: MobileNetV2, normalise: Normalise, classes: int) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        _, _, s8, s16, s32 = backbone.channels
        self.head = conv_bn_relu(s32, 256)
        self.score32 = nn.Conv2d(256, classes, 1)
        self.score16 = nn.Conv2d(s16, classes, 1)
        self.score8 = nn.Conv2d(s8, classes, 1)
        self.up32 = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
        self.up16 = nn.ConvTranspose2d(classes, classes, 4, 2, 1, bias=False)
        for up in (self.up32, self.up16):
            _init_bilinear(up)

    def forward(self, image: Tensor) -> Tensor:
        features = self.backbone(self.normalise(image))
        x = self.score32(self.head(features.last))
        x = self.up32(x) + self.score16(features.s16)
        return self.up16(x) + self.score8(features.s8)


def _init_bilinear(layer: nn.ConvTranspose2d) -> None:
    """Start a 4x4 transposed convolution as bilinear upsampling by two, each class on its own."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.zero_()
        for index in range(layer.weight.shape[0]):
            layer.weight[index, index] = torch.outer(line, line)


NETWORKS = ('deeplabv3plus', 'unet', 'fcn')


def build_network(
    name: str, classes: int, *, width: float = 1.0, output_stride: int = 16, exposure: float = 0.0
) -> nn.Module:
    """Build a network with random weights; `load_backbone(network.backbone, path)` loads ImageNet ones.

    Args:
        width: multiplier of the backbone's channels.
        output_stride: 8 or 16, for deeplabv3plus; the others always go down to stride 32.
        exposure: mean brightness 0..1 that darker images are lifted to; 0 leaves them as they are.

    Raises:
        ConfigError: unknown name, or a value out of range.
    """
    if name not in NETWORKS:
        raise ConfigError(f'network is {name!r}; expected one of {NETWORKS}')
    normalise = Normalise(exposure)
    if name == 'deeplabv3plus':
        if output_stride not in (8, 16):
            raise ConfigError(f'output_stride is {output_stride}; expected 8 or 16')
        return DeepLabV3Plus(MobileNetV2(width, output_stride), normalise, classes, output_stride)
    backbone = MobileNetV2(width, 32)
    return UNet(backbone, normalise, classes) if name == 'unet' else FCN(backbone, normalise, classes)
