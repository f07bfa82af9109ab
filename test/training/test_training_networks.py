"""Networks and losses: shapes, weights, and what the loss rewards."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='training needs PyTorch')

from seg_perception.errors import ConfigError, ModelError  # noqa: E402
from seg_perception.labels import DEFAULT_LABELS, VOID  # noqa: E402
from seg_perception.training.augment import FOREIGN  # noqa: E402
from seg_perception.training.backbone import MobileNetV2, load_backbone  # noqa: E402
from seg_perception.training.config import LossConfig  # noqa: E402
from seg_perception.training.datasets import Sample, Targets  # noqa: E402
from seg_perception.training.losses import SegmentationLoss, class_weights  # noqa: E402
from seg_perception.training.networks import Normalise, build_network, full_size  # noqa: E402

CLASSES = len(DEFAULT_LABELS)
ROAD, LANE, PAVEMENT, VEHICLE, PERSON, OTHER = range(6)


@pytest.mark.parametrize(
    ('name', 'output_stride', 'logit_stride'),
    [('deeplabv3plus', 16, 4), ('deeplabv3plus', 8, 4), ('unet', 16, 2), ('fcn', 16, 8)],
)
def test_networks_label_every_pixel(name: str, output_stride: int, logit_stride: int) -> None:
    network = build_network(name, CLASSES, width=0.25, output_stride=output_stride).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 3, 64, 96))
    assert logits.shape == (2, CLASSES, 64 // logit_stride, 96 // logit_stride)
    assert full_size(logits, 64, 96).shape == (2, CLASSES, 64, 96)


@pytest.mark.parametrize(('stride', 'last'), [(8, (8, 12)), (16, (4, 6)), (32, (2, 3))])
def test_backbone_strides(stride: int, last: tuple[int, int]) -> None:
    pyramid = MobileNetV2(0.25, stride).eval()(torch.zeros(1, 3, 64, 96))
    assert tuple(pyramid.s4.shape[2:]) == (16, 24)
    assert tuple(pyramid.last.shape[2:]) == last


def test_the_block_that_lost_its_stride_keeps_its_dilation() -> None:
    features = MobileNetV2(1.0, 16).features
    depthwise = [features[i].conv[1][0] for i in (13, 14, 15, 16, 17)]
    assert [(d.stride[0], d.dilation[0]) for d in depthwise] == [(1, 1), (1, 1), (1, 2), (1, 2), (1, 2)]


def test_dark_images_are_lifted_and_others_are_not() -> None:
    lift, plain = Normalise(0.4), Normalise(0)
    day = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    torch.testing.assert_close(lift(day), plain(day), rtol=1e-4, atol=1e-4)
    night = (day * 0.15).round()
    mixed = lift(torch.cat([night[:1], day[1:]]))
    brightness = (mixed.mean((1, 2, 3)) + 1) / 2
    assert brightness[0] == pytest.approx(0.4, abs=0.06)
    torch.testing.assert_close(mixed[1:], plain(day[1:]), rtol=1e-4, atol=1e-4)
    assert torch.equal(mixed[0].flatten().argsort(stable=True), night[0].flatten().argsort(stable=True))
    half = lift(night.half())
    torch.testing.assert_close(half.float(), lift(night), rtol=1e-2, atol=1e-2)


def test_a_black_image_stays_black() -> None:
    torch.testing.assert_close(Normalise(0.4)(torch.zeros(1, 3, 64, 64)), torch.full((1, 3, 64, 64), -1.0))


def test_unknown_network_and_stride_are_refused() -> None:
    with pytest.raises(ConfigError, match="network is 'segnet'; expected one of"):
        build_network('segnet', CLASSES)
    with pytest.raises(ConfigError, match='output_stride is 32; expected 8 or 16'):
        build_network('deeplabv3plus', CLASSES, output_stride=32)


def test_backbone_weights_with_torchvision_names(tmp_path: Path) -> None:
    source, target = MobileNetV2(0.25), MobileNetV2(0.25)
    state = {name: value.numpy() for name, value in source.state_dict().items() if 'num_batches' not in name}
    np.savez(tmp_path / 'w.npz', **state, **{'classifier.1.weight': np.zeros(3)})
    load_backbone(target, tmp_path / 'w.npz')
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'w.pth')
    load_backbone(MobileNetV2(0.25), tmp_path / 'w.pth')
    with pytest.raises(ModelError, match=r'w.npz: .* is \(8, .*; expected \(16, .*of another width'):
        load_backbone(MobileNetV2(0.5), tmp_path / 'w.npz')
    np.savez(tmp_path / 'e.npz', a=np.zeros(2))
    with pytest.raises(ModelError, match=r"e.npz: 25\d of 25\d backbone parameters are missing, first 'features.0.0"):
        load_backbone(target, tmp_path / 'e.npz')
    (tmp_path / 'x.npz').write_bytes(b'not an archive')
    with pytest.raises(ModelError, match=r'x.npz: cannot read backbone weights'):
        load_backbone(target, tmp_path / 'x.npz')


def loss_of(config: LossConfig, logits: list[float], target: int) -> float:
    """Loss of a 2x2 image whose pixels all have the same logits and target."""
    targets = Targets(np.array([[True, True, False, False, False, False]]))
    module = SegmentationLoss(config, DEFAULT_LABELS, targets, np.ones(CLASSES, np.float32))
    image = torch.tensor(logits).reshape(1, CLASSES, 1, 1).expand(1, CLASSES, 2, 2)
    return float(module(image, torch.full((1, 2, 2), target)))


SURE_ROAD, SURE_LANE, SURE_VEHICLE, EVEN = [9.0, 0, 0, 0, 0, 0], [0, 9.0, 0, 0, 0, 0], [0, 0, 0, 9.0, 0, 0], [0.0] * 6
ONLY_CE = LossConfig(dice=0)


def test_cross_entropy_of_an_even_guess_is_log_classes() -> None:
    assert loss_of(ONLY_CE, EVEN, ROAD) == pytest.approx(np.log(6), abs=1e-5)


def test_lane_is_not_punished_where_lane_is_not_labelled_apart() -> None:
    either = CLASSES
    assert loss_of(ONLY_CE, SURE_ROAD, either) == pytest.approx(0, abs=0.01)
    assert loss_of(ONLY_CE, SURE_LANE, either) == pytest.approx(0, abs=0.01)
    assert loss_of(ONLY_CE, SURE_VEHICLE, either) > 7
    assert loss_of(ONLY_CE, EVEN, either) == pytest.approx(np.log(3), abs=1e-5)


@pytest.mark.parametrize('config', [LossConfig(), LossConfig(dice=0, focal=1), LossConfig(hard_fraction=0.3)])
def test_void_costs_nothing(config: LossConfig) -> None:
    assert loss_of(config, SURE_VEHICLE, VOID) == 0


def test_a_foreign_object_must_not_be_ground_and_nothing_with_certainty() -> None:
    doubtful = [-9.0, -9.0, -9.0, 0.0, 0.0, 0.0]
    assert loss_of(ONLY_CE, doubtful, FOREIGN) == pytest.approx(np.log(3), abs=0.01)
    assert loss_of(ONLY_CE, SURE_VEHICLE, FOREIGN) > loss_of(ONLY_CE, doubtful, FOREIGN)
    assert loss_of(ONLY_CE, SURE_ROAD, FOREIGN) > loss_of(ONLY_CE, SURE_VEHICLE, FOREIGN)
    assert loss_of(LossConfig(dice=0, foreign=0), SURE_ROAD, FOREIGN) == 0


def test_dice_and_focal_fall_towards_the_truth() -> None:
    for config in (LossConfig(cross_entropy=0, dice=1), LossConfig(cross_entropy=0, dice=0, focal=1)):
        wrong, even, right = (loss_of(config, x, ROAD) for x in (SURE_VEHICLE, EVEN, SURE_ROAD))
        assert wrong > even > right
        assert right == pytest.approx(0, abs=0.01)


def test_hard_pixels_outweigh_easy_ones() -> None:
    targets = Targets(np.zeros((0, CLASSES), np.bool_))
    logits = torch.zeros(1, CLASSES, 1, 4)
    logits[0, ROAD, 0, :3] = 9.0
    target = torch.tensor([[[ROAD] * 4]])

    def value(fraction: float) -> float:
        config = LossConfig(dice=0, hard_fraction=fraction)
        return float(SegmentationLoss(config, DEFAULT_LABELS, targets, np.ones(CLASSES, np.float32))(logits, target))

    assert value(0.25) == pytest.approx(np.log(6), abs=1e-4)
    assert value(1.0) == pytest.approx(np.log(6) / 4, abs=0.01)


def test_class_weights_favour_rare_classes_within_limits() -> None:
    target = np.full((40, 40), OTHER, np.uint8)
    target[:, :12], target[0, 0] = ROAD, PERSON
    weights = class_weights(LossConfig(), [Sample(np.zeros((40, 40, 3), np.uint8), target)], CLASSES)
    assert weights.mean() == pytest.approx(1)
    assert weights[ROAD] / weights[OTHER] == pytest.approx(np.sqrt(70 / 29))
    assert weights[PERSON] / weights[OTHER] == pytest.approx(4)
    given = class_weights(LossConfig(class_weights=(1, 2, 3, 4, 5, 6)), [], CLASSES)
    assert given.tolist() == [1, 2, 3, 4, 5, 6]
