"""The tables of `run_all.py`: each model file, backend and batch with its times, and what TensorRT must meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.engine import Engine, open_engine, siblings
from seg_perception.engine.measure import Growth, Timing, memory_growth, time_engine
from seg_perception.engine.onnxrt import OnnxRuntimeEngine
from seg_perception.errors import SegPerceptionError
from seg_perception.frames import from_array, to_network
from seg_perception.scene import Drive

LARGEST = 6
MOST_OVERHEAD = 1.15
MOST_GROWTH_MB = 20.0
LEAST_AGREEMENT = {'fp32': 0.995, 'fp16': 0.995, 'int8': 0.97}
HEAD = f'{"model":28} {"backend":14} {"batch":>5} {"network ms":>10} {"infer ms":>9} {"p99 ms":>8} {"ratio":>6} {"labels equal":>12}'


class Bar(NamedTuple):
    """One thing that a model must meet with TensorRT."""

    model: str
    what: str
    measured: str
    limit: str
    met: bool

    def __str__(self) -> str:
        return f'{self.model:28} {self.what:34} {self.measured:>24} {self.limit:>16}  {"met" if self.met else "MISSED"}'


def run(models: Path, frames: Path | None, runs: int, flat: int) -> bool:
    """Print both tables; return whether a bar was missed or not measured."""
    images = list(_images(frames))
    print(f'{len(images)} frames from {frames or "rendered street scenes"}\n{HEAD}', flush=True)
    bars: list[Bar] = []
    for model in sorted(models.glob('*.onnx')):
        if siblings.for_tensorrt(model) != model:
            continue  # TensorRT takes its sibling
        bars += _rows(model, images, 'tensorrt', runs, flat)
        _rows(model, images, 'onnxruntime cuda', runs, 0)
    print('\n== what TensorRT must meet')
    print(*bars, sep='\n', flush=True)
    return not all(bar.met for bar in bars)


def _rows(model: Path, images: list[np.ndarray], backend: str, runs: int, flat: int) -> list[Bar]:
    bars: list[Bar] = []
    for largest in (1, LARGEST):
        try:
            engine = _open(model, backend, largest)
        except SegPerceptionError as error:
            print(f'{model.name:28} {backend:14} not measured: {error}', flush=True)
            return [*bars, Bar(model.name, f'plan for 1 to {largest} frames', 'not measured', 'opens', met=False)]
        try:
            agreement = label_agreement(engine, model, images)
            for n in range(1, largest + 1) if largest > 1 else (1,):
                timing = time_engine(engine, n, runs)
                print(f'{model.name:28} {engine.info.backend:14} {_figures(timing)} {agreement:12.3%}', flush=True)
                if timing.overhead and largest == 1:
                    bars.append(_at_most(model, 'infer / network, batch 1', timing.overhead, MOST_OVERHEAD))
            least, kind = LEAST_AGREEMENT[engine.spec.precision], f'labels equal, plan for 1 to {largest}'
            bars.append(Bar(model.name, kind, f'{agreement:.3%}', f'at least {least:.1%}', agreement >= least))
            if flat and largest == 1:
                bars += _flat(model, memory_growth(engine, flat))
            if backend == 'tensorrt':
                asked, achieved = engine.spec.precision, engine.achieved
                kind = f'precision, plan for 1 to {largest}'
                bars.append(Bar(model.name, kind, achieved.describe(), f'mostly {asked}', not achieved.missed(asked)))
        finally:
            engine.close()
    print(f'{"":28} {engine.info.device}, precision {engine.info.precision}', flush=True)
    return bars


def _at_most(model: Path, what: str, value: float, limit: float) -> Bar:
    return Bar(model.name, what, f'{value:.2f}', f'at most {limit:.2f}', value <= limit)


def _open(model: Path, backend: str, largest: int) -> Engine:
    if backend == 'tensorrt':
        return open_engine(model, 'tensorrt', max_batch=largest)
    return OnnxRuntimeEngine(model, max_batch=largest, device='cuda', exact=True)


def label_agreement(engine: Engine, model: Path, images: list[np.ndarray]) -> float:
    """Return the share of pixels that ONNX Runtime on the CPU labels the same, over all images."""
    reference = OnnxRuntimeEngine(model, device='cpu', exact=True)
    shares = []
    for image in images:
        for each in (engine, reference):
            to_network(from_array(image, 'bgr8'), each.input(1)[0])
        shares.append(float((engine.infer(1).labels == reference.infer(1).labels).mean()))
    reference.close()
    return float(np.mean(shares))


def _figures(timing: Timing) -> str:
    network = f'{timing.network_ms:10.3f}' if timing.network_ms else f'{"-":>10}'
    overhead = f'{timing.overhead:6.2f}' if timing.overhead else f'{"-":>6}'
    return f'{timing.batch:5} {network} {timing.infer_ms:9.3f} {timing.infer_p99_ms:8.3f} {overhead}'


def _flat(model: Path, growth: Growth) -> Iterator[Bar]:
    for where, grown in (('host', growth.host_mb), ('GPU', growth.device_mb)):
        if grown is not None:
            yield _at_most(model, f'MB more on {where}, {growth.frames} frames', grown, MOST_GROWTH_MB)


def _images(folder: Path | None) -> Iterator[np.ndarray]:
    """Give at most 20 BGR images, evenly over the folder or over two rendered drives."""
    if folder is None:
        for seed in (11, 12):
            drive = Drive(seed)
            for i in range(0, len(drive), max(1, len(drive) // 10)):
                yield np.ascontiguousarray(drive.frame(i).cameras['front'].image[..., ::-1])
        return
    paths = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.png', '.jpg', '.jpeg'))
    for path in paths[:: max(1, len(paths) // 20)]:
        image = cv2.imread(str(path))
        if image is not None:
            yield image
