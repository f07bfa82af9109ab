"""From a checkpoint to model files: graph, precisions, metadata, parity with PyTorch, model card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from torch import nn

from seg_perception.engine.onnxrt import read_spec
from seg_perception.engine.siblings import SUFFIXES
from seg_perception.errors import ModelError
from seg_perception.frames import from_array, to_network
from seg_perception.model import FORMAT, METADATA_KEY
from seg_perception.training.calibrate import Calibration, fit_temperature, summarise_confusion
from seg_perception.training.checkpoint import Checkpoint, load_checkpoint, load_weights, network_from
from seg_perception.training.config import TrainConfig
from seg_perception.training.crf import RefinedNetwork, best_setting
from seg_perception.training.datasets import Loaded, load
from seg_perception.training.graph import DeployNetwork, write_graph
from seg_perception.training.quantize import quantize
from seg_perception.training.select import count_pixels, labels_of, logits_of, summarise

UInt8 = npt.NDArray[np.uint8]
LEAST_AGREEMENT = {'fp32': 0.999, 'fp16': 0.995, 'int8': 0.95, 'int8-trt': 0.95}
"""Smallest share of equal labels between a file and the PyTorch network, on real frames."""
CALIBRATION_FRAMES = 48
PARITY_FRAMES = 8


class Exported(NamedTuple):
    """One model file that was written."""

    path: Path
    agreement: float
    """Share 0..1 of pixels with the PyTorch network's label, on frames of the selection split."""


class Job(NamedTuple):
    """What to export."""

    checkpoint: Path
    data: Path
    out: Path
    name: str
    precisions: tuple[str, ...]
    licence: str
    size: tuple[int, int] | None = None
    """Input height and width; None for those of the training."""
    exposure: float | None = None
    """Mean brightness 0..1 that darker images are lifted to; None for that of the training."""
    average: Path | None = None
    """Checkpoint of the same network whose weights are averaged with those of `checkpoint`; None for none."""
    crf: bool = False
    """Put a CRF behind the network, with the setting that is best on the selection split."""


def export(job: Job, say: Callable[[str], None]) -> list[Exported]:
    """Write `name.onnx` and its siblings for each precision; each only after its labels agree with PyTorch.

    Raises:
        ModelError: the checkpoint cannot be used, or a graph disagrees with the network.
        ConfigError, DataError: the data of the checkpoint's configuration cannot be read.
    """
    checkpoint = load_checkpoint(job.checkpoint)
    config = checkpoint.config
    if job.size is not None:
        config = replace(config, input_height=job.size[0], input_width=job.size[1])
    if job.exposure is not None:
        config = replace(config, network=replace(config.network, exposure=job.exposure))
    checkpoint = checkpoint._replace(config=config)
    network: nn.Module = network_from(config)
    load_weights(network, checkpoint.network, job.checkpoint)
    if job.average is not None:
        other = load_checkpoint(job.average).network
        load_weights(network, other, job.average)
        network.load_state_dict(_mean_weights(checkpoint.network, other))
    loaded = load(config.datasets, job.data, job.checkpoint.parent, config.classes)
    facts_crf: dict[str, Any] = {}
    if job.crf:
        setting = best_setting(network, loaded.select, config, say)
        network, facts_crf = RefinedNetwork(network, setting, config.classes), {'crf': asdict(setting)}
    network.eval()
    logits = [logits_of(network, sample.image, config) for sample in loaded.select]
    temperature = fit_temperature(logits, loaded.select, config)
    expected = [labels_of(x, config) for x in logits]
    confusion = count_pixels(expected, loaded.select, loaded.targets, config)
    checkpoint = checkpoint._replace(score=summarise(confusion, config.classes).score)
    calibration = summarise_confusion(confusion, config.classes, temperature)
    step = max(1, len(expected) // PARITY_FRAMES)
    frames = [network_input(sample.image, config) for sample in loaded.select[::step][:PARITY_FRAMES]]
    parity = list(zip(frames, expected[::step], strict=False))
    say(f'temperature {temperature:.3f} from {len(loaded.select)} selection frames')
    job.out.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        base = Path(folder) / 'fp32.onnx'
        write_graph(DeployNetwork(network, temperature), config.input_height, config.input_width, base)
        for variant in _variants(job.precisions):
            made = _make(variant, base, network, temperature, config, loaded, Path(folder))
            facts = _metadata(job, variant, checkpoint, calibration, loaded) | facts_crf
            exported = _finish(made, job, variant, facts, parity)
            say(f'{exported.path}: {exported.path.stat().st_size / 1e6:.1f} MB, labels equal {exported.agreement:.4%}')
            written.append(exported)
    return written


def _mean_weights(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Average two sets of weights, before and after fine-tuning (Wortsman et al. 2022); counters are the second's."""
    return {
        name: (first[name].float() + value.float()) / 2 if value.is_floating_point() else value
        for name, value in second.items()
    }


def _variants(precisions: Sequence[str]) -> list[str]:
    """int8 is two files, one for each runtime."""
    return [v for p in precisions for v in (('int8', 'int8-trt') if p == 'int8' else (p,))]


def _make(
    variant: str,
    base: Path,
    network: nn.Module,
    temperature: float,
    config: TrainConfig,
    loaded: Loaded,
    folder: Path,
) -> Path:
    """Write the bare graph of one variant and return its path."""
    if variant == 'fp32':
        return base
    path = folder / f'{variant}.onnx'
    if variant == 'fp16':
        half = DeployNetwork(network, temperature)
        half.network = half.network.half()
        write_graph(half, config.input_height, config.input_width, path)
    else:
        step = max(1, len(loaded.train) // CALIBRATION_FRAMES)
        frames = [network_input(sample.image, config) for sample in loaded.train[::step][:CALIBRATION_FRAMES]]
        quantize(base, path, _with_dusk(frames), tensorrt=variant == 'int8-trt')
    return path


def _with_dusk(frames: list[UInt8]) -> list[UInt8]:
    """Darken every third frame, so that the ranges hold at dusk too."""
    table = ((np.linspace(0, 1, 256) ** 1.4) * 130).astype(np.uint8)
    return [np.asarray(cv2.LUT(f, table), np.uint8) if i % 3 == 2 else f for i, f in enumerate(frames)]


def network_input(image: UInt8, config: TrainConfig) -> UInt8:
    """Stretch a frame, uint8 [H, W, 3] RGB, to the network's size as the pipeline does."""
    out = np.empty((config.input_height, config.input_width, 3), np.uint8)
    to_network(from_array(image, 'rgb8'), out)
    return out


def _metadata(
    job: Job, variant: str, checkpoint: Checkpoint, calibration: Calibration, loaded: Loaded
) -> dict[str, Any]:
    config = checkpoint.config
    return {
        'format': FORMAT,
        'name': job.name,
        'precision': variant.removesuffix('-trt'),
        'classes': config.classes.to_dicts(),
        'input_height': config.input_height,
        'input_width': config.input_width,
        'confidence_temperature': round(calibration.temperature, 4),
        'confusion': calibration.confusion,
        'class_precision': calibration.class_precision,
        'training': {
            'network': config.network.name,
            'backbone': 'mobilenet_v2',
            'width': config.network.width,
            'output_stride': config.network.output_stride,
            'exposure': config.network.exposure,
            'start': Path(config.network.start).name,
            'averaged_with': job.average.name if job.average else '',
            'steps': checkpoint.step,
            'batch': config.batch,
            'crop': [config.crop_height, config.crop_width],
            'datasets': sorted({entry.root for entry in config.datasets}),
            'train_images': len(loaded.train),
            'select_images': len(loaded.select),
            'selection_score': round(checkpoint.score, 4),
        },
        'accuracy': {},
        'data_licence': job.licence,
    }


def _finish(
    made: Path, job: Job, variant: str, facts: dict[str, Any], parity: Sequence[tuple[UInt8, UInt8]]
) -> Exported:
    """Attach the metadata, check contract and parity, and only then move the file into place."""
    attach_metadata(made, facts)
    read_spec(made)
    agreement = label_agreement(made, parity)
    if agreement < LEAST_AGREEMENT[variant]:
        raise ModelError(
            f'{variant} graph: {agreement:.3%} of labels equal the PyTorch network; expected at least '
            f'{LEAST_AGREEMENT[variant]:.1%}; nothing was written'
        )
    path = job.out / f'{job.name}{SUFFIXES[variant]}.onnx'
    shutil.copyfile(made, path)
    return Exported(path, agreement)


def attach_metadata(path: Path, facts: dict[str, Any]) -> None:
    """Replace the metadata of a model file."""
    model = onnx.load(path)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(facts)
    onnx.save(model, str(path))


def label_agreement(path: Path, parity: Sequence[tuple[UInt8, UInt8]]) -> float:
    """Return the share of pixels with the expected label, over pairs of network input [h, w, 3] and labels [h, w]."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    equal = [session.run(['labels'], {'image': frame[None]})[0][0] == labels for frame, labels in parity]
    return float(np.mean(equal))
