"""The windowed CRF against an exact dense one on small images, and its graph in ONNX Runtime and TensorRT-RTX."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='torch is not installed')

from seg_perception.errors import ConfigError  # noqa: E402
from seg_perception.labels import DEFAULT_LABELS, LabelMap  # noqa: E402
from seg_perception.training.crf import CrfConfig, RefinedNetwork, WindowedCrf, agreement_of, best_setting, refine  # noqa: E402
from seg_perception.training.datasets import Sample  # noqa: E402
from seg_perception.training.graph import DeployNetwork, write_graph  # noqa: E402

H, W, CLASSES = 8, 10, 3
THREE = LabelMap(DEFAULT_LABELS.classes[:CLASSES])
POTTS = np.eye(CLASSES, dtype=np.float32)


def dense_crf(logits: np.ndarray, image: np.ndarray, c: CrfConfig, agreement: np.ndarray = POTTS) -> np.ndarray:
    """Exact mean-field inference over all pairs: logits [C, H, W], image [3, H, W]; returns what is added to logits."""
    classes, height, width = logits.shape
    y, x = (v.ravel().astype(float) for v in np.indices((height, width)))
    far = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    colors = image.reshape(3, -1).T
    difference = ((colors[:, None] - colors) ** 2).sum(-1)
    kernel = (1 - c.smooth_share) * np.exp(-far / (2 * c.position_px**2) - difference / (2 * c.color**2))
    kernel += c.smooth_share * np.exp(-far / (2 * c.smooth_px**2))
    np.fill_diagonal(kernel, 0.0)
    kernel /= kernel.sum(1, keepdims=True)
    unary, added = logits.reshape(classes, -1), np.zeros((classes, height * width))
    for _ in range(c.iterations):
        belief = np.exp(unary + added)
        added = c.weight * agreement @ (belief / belief.sum(0)) @ kernel.T
    return added.reshape(logits.shape)


def case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (3, H, W)).astype(np.float32)
    image[:, :, W // 2 :] += 120
    return rng.normal(0, 1.5, (CLASSES, H, W)).astype(np.float32), image


def windowed(logits: np.ndarray, image: np.ndarray, config: CrfConfig, agreement: np.ndarray = POTTS) -> np.ndarray:
    with torch.inference_mode():
        return WindowedCrf(config, torch.from_numpy(agreement))(
            torch.from_numpy(logits)[None], torch.from_numpy(image)[None]
        )[0].numpy()


def test_a_window_over_the_whole_image_is_the_dense_crf():
    config = CrfConfig(weight=3.0, color=30.0, position_px=5.0, radius=9, dilation=1)
    logits, image = case()
    assert windowed(logits, image, config) == pytest.approx(dense_crf(logits, image, config), abs=1e-4)
    paired = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], np.float32)
    assert windowed(logits, image, config, paired) == pytest.approx(dense_crf(logits, image, config, paired), abs=1e-4)


def test_a_small_window_labels_nearly_as_the_dense_crf():
    config = CrfConfig(weight=3.0, color=30.0, position_px=1.5, smooth_px=1.0, radius=3, dilation=1)
    equal = []
    for seed in range(10):
        logits, image = case(seed)
        near, exact = (f(logits, image, config) + logits for f in (windowed, dense_crf))
        equal.append((near.argmax(0) == exact.argmax(0)).mean())
    assert np.mean(equal) > 0.98


def test_a_speck_takes_the_label_of_its_colour_and_an_edge_stays():
    """Two flat halves: the wrong pixel inside one is put right, and no pixel next to the edge changes side."""
    image = np.zeros((3, H, W), np.float32)
    image[:, :, W // 2 :] = 200
    logits = np.zeros((2, H, W), np.float32)
    logits[0, :, : W // 2] = logits[1, :, W // 2 :] = 1.0
    logits[:, 3, 2] = (0.0, 0.5)
    config = CrfConfig(weight=4.0, smooth_share=0.1, dilation=1)
    labels = (logits + windowed(logits, image, config, POTTS[:2, :2])).argmax(0)
    expected = np.zeros((H, W), int)
    expected[:, W // 2 :] = 1
    assert labels.tolist() == expected.tolist()


def test_a_thin_marking_on_the_road_is_not_erased():
    """A line one pixel wide, sure by a little, of the road's colour; vehicle specks of the same strength go."""
    road, lane, vehicle = 0, 1, 3
    logits = np.zeros((6, H, W), np.float32)
    logits[road] = 1.0
    logits[lane, :, 4] = logits[vehicle, 2, 7] = 1.5
    image = np.full((3, H, W), 90, np.float32)
    config = CrfConfig(weight=4.0, dilation=1)
    labels = (logits + windowed(logits, image, config, agreement_of(DEFAULT_LABELS).numpy())).argmax(0)
    expected = np.zeros((H, W), int)
    expected[:, 4] = lane
    assert labels.tolist() == expected.tolist()


def test_no_weight_adds_nothing():
    assert (windowed(*case(), CrfConfig(weight=0.0)) == 0).all()


class Stub(torch.nn.Module):
    """Logits at any stride from the image alone."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, CLASSES, stride, stride)

    def forward(self, image):
        return self.convolution(image / 128)


@pytest.mark.parametrize(('stride', 'expected'), [(2, (32, 48)), (4, (16, 24)), (8, (16, 24))])
def test_networks_of_any_stride_can_be_refined(stride, expected):
    image = torch.randint(0, 256, (2, 3, 64, 96)).float()
    with torch.inference_mode():
        logits = Stub(stride)(image)
        refined = refine(logits, image, WindowedCrf(CrfConfig(weight=0.0), torch.eye(CLASSES)))
        assert refined.shape == (2, CLASSES, *expected)
        assert RefinedNetwork(Stub(stride), CrfConfig(), THREE)(image).shape == (2, CLASSES, *expected)
    if stride <= 4:
        assert torch.equal(refined, logits)


@pytest.fixture(scope='module')
def deployed(tmp_path_factory):
    deploy = DeployNetwork(
        RefinedNetwork(Stub(4), CrfConfig(weight=4.0, radius=1, iterations=2), THREE), temperature=1.3
    ).eval()
    path = tmp_path_factory.mktemp('crf') / 'crf.onnx'
    write_graph(deploy, 64, 96, path)
    return deploy, path


def test_the_graph_labels_as_pytorch_does(deployed):
    ort = pytest.importorskip('onnxruntime')
    deploy, path = deployed
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3)).astype(np.uint8)
    session = ort.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    labels, confidence = session.run(None, {'image': frames})
    with torch.inference_mode():
        expected_labels, expected_confidence = (t.numpy() for t in deploy(torch.from_numpy(frames)))
    assert (labels == expected_labels).mean() >= 0.999
    assert np.abs(confidence.astype(int) - expected_confidence).max() <= 1


def test_tensorrt_builds_the_graph(deployed):
    trt = pytest.importorskip('tensorrt_rtx_bindings', reason='TensorRT-RTX is not installed')
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(deployed[1].read_bytes()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    profile.set_shape('image', (1, 64, 96, 3), (1, 64, 96, 3), (2, 64, 96, 3))
    config.add_optimization_profile(profile)
    config.builder_optimization_level = 0
    assert builder.build_serialized_network(network, config) is not None


def test_the_search_prefers_what_puts_specks_right():
    """A network that errs on scattered pixels of a picture whose colours tell the classes apart."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = 200
    target = np.zeros((64, 96), np.uint8)
    target[:, 48:] = 3

    class Specks(torch.nn.Module):
        def forward(self, x):
            right = torch.nn.functional.avg_pool2d(x[:, :1], 4) > 100
            wrong = torch.rand(right.shape, generator=torch.Generator().manual_seed(0)) < 0.1
            classes = torch.where(right ^ wrong, 3, 0)[:, 0]
            return torch.nn.functional.one_hot(classes, 6).permute(0, 3, 1, 2).float()

    said = []
    config = SimpleNamespace(classes=DEFAULT_LABELS, input_height=64, input_width=96)
    setting = best_setting(Specks(), [Sample(image, target)], config, said.append)
    assert isinstance(setting, CrfConfig)
    with_crf, without = (float(v) for v in re.findall(r'score (\S+), without it (\S+);', said[0])[0])
    assert with_crf > 0.98 > without


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r'crf\.radius is 0'):
        CrfConfig(radius=0)
