"""Export of a small network: contract, parity, precisions, metadata, and graphs that TensorRT's parser takes."""

import importlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip('torch', reason='training needs PyTorch')
onnx = pytest.importorskip('onnx', reason='export needs onnx')

from seg_perception.cli.export import command  # noqa: E402
from seg_perception.engine.onnxrt import OnnxRuntimeEngine, read_spec  # noqa: E402
from seg_perception.errors import ConfigError, ModelError  # noqa: E402
from seg_perception.labels import DEFAULT_LABELS  # noqa: E402
from seg_perception.paths import share_file  # noqa: E402
from seg_perception.training.checkpoint import load_checkpoint  # noqa: E402
from seg_perception.training.export import label_agreement  # noqa: E402
from seg_perception.training.graph import DeployNetwork, fold_norms, write_graph  # noqa: E402
from seg_perception.training.networks import build_network, full_size  # noqa: E402
from seg_perception.training.run import train_from_file  # noqa: E402

NewRun = Callable[..., Path]
FILES = ('tiny.onnx', 'tiny.fp16.onnx', 'tiny.int8.onnx', 'tiny.int8-trt.onnx')


@pytest.fixture(scope='module')
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('export')


@pytest.fixture
def exported(shared_folder: Path, new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small network in every precision; trained and exported once."""
    if not (shared_folder / 'tiny.json').exists():
        # A network of six steps decides by narrow margins, which int8 flips more often than a trained one's.
        monkeypatch.setattr(
            'seg_perception.training.export.LEAST_AGREEMENT',
            dict.fromkeys(('fp16', 'int8', 'int8-trt'), 0.5) | {'fp32': 0.999},
        )
        outcome = train_from_file(new_run(steps=30, epoch_steps=30), tmp_path, tmp_path / 'out')
        args = [
            str(outcome.best),
            '--data',
            str(tmp_path),
            '--out',
            str(shared_folder),
            '--name',
            'tiny',
            '--licence',
            'drawn',
            '--exposure',
            '0.4',
        ]
        result = CliRunner().invoke(command, args, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return shared_folder


@pytest.mark.parametrize('file', FILES)
def test_every_file_follows_the_contract(exported: Path, file: str) -> None:
    spec = read_spec(exported / file)
    assert spec.labels == DEFAULT_LABELS
    assert (spec.metadata or {})['training']['exposure'] == 0.4
    assert (spec.input_height, spec.input_width) == (64, 96)
    assert spec.precision == {'tiny.onnx': 'fp32', 'tiny.fp16.onnx': 'fp16'}.get(file, 'int8')
    assert len(spec.class_precision or ()) == len(DEFAULT_LABELS)


def test_a_batch_labels_like_single_images(exported: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    engine = OnnxRuntimeEngine(exported / 'tiny.onnx', max_batch=3, threads=1)
    engine.input(3)[:] = frames
    labels, confidence = (a.copy() for a in engine.infer(3))
    for i, frame in enumerate(frames):
        engine.input(1)[0] = frame
        single = engine.infer(1)
        np.testing.assert_array_equal(labels[i], single.labels[0])
        np.testing.assert_allclose(confidence[i].astype(int), single.confidence[0], atol=1)
    engine.close()


def test_the_card_names_every_file_with_its_hash(exported: Path) -> None:
    import json

    card = json.loads((exported / 'tiny.json').read_text(encoding='utf-8'))
    assert set(card['files']) == set(FILES)
    for file in FILES:
        assert card['files'][file]['sha256'] == read_spec(exported / file).sha256
    assert card['data_licence'] == 'drawn'
    assert 'lane_marking' in (exported / 'tiny.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('file', ['tiny.onnx', 'tiny.fp16.onnx', 'tiny.int8-trt.onnx'])
def test_tensorrt_parses_it_strongly_typed(exported: Path, file: str) -> None:
    trt = pytest.importorskip('tensorrt_rtx_bindings', reason="TensorRT's parser is not installed")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse((exported / file).read_bytes()), [str(parser.get_error(i)) for i in range(parser.num_errors)]


@pytest.mark.parametrize('file', ['tiny.int8.onnx', 'tiny.int8-trt.onnx'])
def test_int8_files_hold_quantised_convolutions(exported: Path, file: str) -> None:
    model = onnx.load(exported / file)
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    convs = [node for node in model.graph.node if node.op_type == 'Conv']
    quantised = [node for node in convs if made_by.get(node.input[1]) == 'DequantizeLinear']
    # The classifier and the first ones stay in float.
    assert len(convs) - len(quantised) == {'tiny.int8.onnx': 7, 'tiny.int8-trt.onnx': 9}[file]
    kinds = {i.data_type for i in model.graph.initializer if i.name.endswith('_zero_point')}
    unsigned = onnx.TensorProto.UINT8
    assert (unsigned in kinds) == (file == 'tiny.int8.onnx')


def test_the_graph_computes_label_and_its_softmax_probability(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network('deeplabv3plus', 6, width=0.25, exposure=0.4).eval()
    temperature = 1.7
    image = np.random.default_rng(1).integers(0, 100, (1, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = network(torch.from_numpy(image).permute(0, 3, 1, 2).float())
        p = (full_size(logits, 64, 64) / temperature).softmax(1)[0]
    write_graph(DeployNetwork(network, temperature), 64, 64, tmp_path / 'g.onnx')
    assert label_agreement(tmp_path / 'g.onnx', [(image[0], p.argmax(0).numpy().astype(np.uint8))]) >= 0.999
    import onnxruntime as ort

    session = ort.InferenceSession(str(tmp_path / 'g.onnx'), providers=['CPUExecutionProvider'])
    confidence = session.run(['confidence'], {'image': image})[0][0]
    np.testing.assert_allclose(confidence.astype(int), (255 * p.max(0).values).numpy(), atol=1)


def test_neighbours_that_are_sure_of_different_classes_keep_a_confidence() -> None:
    class Sure(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([[900.0, -900.0], [-900.0, 900.0]]))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.weight[None, :, None, :].expand(len(image), -1, 2, -1)

    labels, confidence = DeployNetwork(Sure(), 1.0)(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert labels.tolist() == [[[0] * 4 + [1] * 4] * 8]
    assert confidence.min() >= 254


@pytest.mark.parametrize('name', ['deeplabv3plus', 'unet', 'fcn'])
def test_folding_norms_changes_nothing(name: str) -> None:
    torch.manual_seed(2)
    network = build_network(name, 6, width=0.25)
    network.train()(torch.rand(2, 3, 64, 64) * 255)  # gives the norms statistics that are not the initial ones
    network.eval()
    folded = fold_norms(network)
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), rtol=1e-3, atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


def test_the_exporter_does_not_ask_for_torchvision() -> None:
    registration = importlib.import_module('torch.onnx._internal.exporter._registration')
    assert not registration.logger.isEnabledFor(logging.WARNING)


def test_a_graph_that_disagrees_is_not_written(
    exported: Path, new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph that is tried is that of another network: the one of the other tests, trained for longer."""
    outcome = train_from_file(new_run(steps=1, epoch_steps=1), tmp_path, tmp_path / 'out')
    other = exported / 'tiny.onnx'
    monkeypatch.setattr('seg_perception.training.export.write_graph', lambda *args: shutil.copyfile(other, args[-1]))
    args = [str(outcome.best), '--data', str(tmp_path), '--out', str(tmp_path / 'e'), '--precision', 'fp32']
    with pytest.raises(ModelError, match=r'fp32 graph: .*% of labels equal .*at least 99\.9%; nothing was written'):
        CliRunner().invoke(command, args, catch_exceptions=False)
    assert list((tmp_path / 'e').glob('*.onnx')) == []
    with pytest.raises(ConfigError, match=r"--precision has \['int4'\]; expected some of fp32, fp16, int8"):
        CliRunner().invoke(command, [*args[:-1], 'int4'], catch_exceptions=False)


def write_camvid(folder: Path, mapping: str, names: list[str]) -> None:
    """Write a data set with the classes that a shipped mapping names."""
    values = yaml.safe_load(share_file(f'config/training/{mapping}').read_text(encoding='utf-8'))
    classes = [name for group in [*values['classes'].values(), values['ignore']] for name in group]
    rng = np.random.default_rng(0)
    for part in ('images', 'labels'):
        (folder / part).mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / 'images' / f'{name}.png'), rng.integers(0, 256, (72, 96, 3), dtype=np.uint8))
        label = np.repeat(rng.integers(0, len(classes), (9, 96), dtype=np.uint8), 8, axis=0)
        cv2.imwrite(str(folder / 'labels' / f'{name}.png'), label)
    rows = [f'{i},{name},other' for i, name in enumerate(classes)]
    (folder / 'classes.csv').write_text('\n'.join(['id,name,role', *rows]) + '\n', encoding='utf-8')


def test_a_shipped_checkpoint_needs_no_more_than_its_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_camvid(tmp_path / 'camvid', 'camvid.yaml', ['0016E5_00001', '0016E5_07960', '0006R0_f03300'])
    write_camvid(tmp_path / 'camvid_no_lanes', 'camvid_no_lanes.yaml', ['0016E5_00002'])
    checkpoint = share_file('engines/deeplab_accurate.pt')
    args = [str(checkpoint), '--data', str(tmp_path), '--out', str(tmp_path / 'e'), '--precision', 'fp32']
    result = CliRunner().invoke(command, [*args, '--size', '64', '96'], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert read_spec(tmp_path / 'e' / 'deeplab_accurate.onnx').input_width == 96


def test_weights_are_averaged_with_another_checkpoint(new_run: NewRun, tmp_path: Path) -> None:
    path = new_run(steps=2, epoch_steps=2)
    first = train_from_file(path, tmp_path, tmp_path / 'first').best
    run = yaml.safe_load(path.read_text(encoding='utf-8')) | {'seed': 1}
    path.write_text(yaml.safe_dump(run), encoding='utf-8')
    second = train_from_file(path, tmp_path, tmp_path / 'second').best
    args = [str(first), '--data', str(tmp_path), '--out', str(tmp_path / 'e'), '--name', 'mean', '--precision', 'fp32']
    result = CliRunner().invoke(command, [*args, '--average', str(second)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    kept = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(tmp_path / 'e' / 'mean.onnx').graph.initializer}
    name = 'classifier.bias'
    a, b = (load_checkpoint(p).network[name].numpy() for p in (first, second))
    assert not np.allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(kept[f'network.{name}'], (a + b) / 2, atol=1e-6)
    assert 'averaged with those of best.pt' in (tmp_path / 'e' / 'mean.md').read_text(encoding='utf-8')
