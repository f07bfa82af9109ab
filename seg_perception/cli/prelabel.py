"""`seg_perception prelabel`: label images for annotators, the least certain first."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from seg_perception.engine import BACKENDS, open_engine
from seg_perception.errors import RecordingError
from seg_perception.frames import labels_to_size, to_rgb
from seg_perception.io.recording import RecordingOptions, open_recording
from seg_perception.labels import LabelMap
from seg_perception.paths import default_model
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig

EPILOG = """\b
Examples:
  seg_perception prelabel drive.mcap --out prelabels --every 15
  seg_perception prelabel photos/ --out prelabels --top 100
"""


class Ranked(NamedTuple):
    """One frame and how much a person's time on it is worth."""

    name: str
    uncertainty: float
    """Mean over the pixels of 1 - confidence, 0..1."""
    least_certain: float
    """Mean over the least certain tenth of the pixels of 1 - confidence, 0..1."""


@click.command('prelabel', epilog=EPILOG)
@click.argument('source', metavar='INPUT')
@click.option('--out', type=click.Path(path_type=Path), required=True, help='Folder to write; must be new or empty.')
@click.option('--model', type=click.Path(path_type=Path), help='ONNX model; the shipped fast one by default.')
@click.option('--backend', type=click.Choice(BACKENDS), default='auto', show_default=True, help='What runs the model.')
@click.option(
    '--every', type=click.IntRange(1), default=1, show_default=True, help='Take every n-th frame of a camera.'
)
@click.option('--topic', 'topics', multiple=True, metavar='TOPIC', help='Image topic of a bag; may be repeated.')
@click.option('--all-topics', is_flag=True, help='Take every image topic of a bag.')
@click.option('--top', type=click.IntRange(1), help='Keep only the N least certain frames.')
def command(
    source: str,
    out: Path,
    model: Path | None,
    backend: str,
    every: int,
    topics: tuple[str, ...],
    all_topics: bool,
    top: int | None,
) -> None:
    """Label the frames of INPUT (bag, video, folder or scene:SEED) for annotators to correct.

    OUT holds JPEGImages/, SegmentationClass/ (palette PNGs in the classes' colours), labels/ (class ids),
    ImageSets/Segmentation/default.txt and labelmap.txt: CVAT's "Segmentation mask 1.1". uncertainty.csv lists the
    frames, those worth a person's time first.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordingError(f'{out}: is {"not empty" if out.is_dir() else "no folder"}; give a new folder')
    recording = open_recording(source, RecordingOptions(topics=topics, all_topics=all_topics))
    engine = open_engine(model or default_model(), backend)
    for name in ('JPEGImages', 'SegmentationClass', 'labels', 'ImageSets/Segmentation'):
        (out / name).mkdir(parents=True, exist_ok=True)
    try:
        pipeline, labels = Pipeline(PipelineConfig(), engine), engine.spec.labels
        ranked = []
        seen: Counter[str] = Counter()
        for frame in tqdm(recording.frames(), total=recording.frame_count, unit='frame', disable=None):
            seen[frame.camera] += 1
            if (seen[frame.camera] - 1) % every:
                continue
            result = pipeline.run([Frame(frame.camera, frame.stamp_ns, frame.image)], want_grid=False).cameras[0]
            name = frame.name or f'{frame.camera}_{frame.stamp_ns}'
            rgb = to_rgb(frame.image)
            _write(out, name, rgb, labels_to_size(result.labels, rgb.shape[1], rgb.shape[0]), labels)
            ranked.append(rank(name, result.confidence))
    finally:
        engine.close()
        recording.close()
    for problem in recording.problems:
        click.echo(f'warning: {problem}', err=True)
    if not ranked:
        raise RecordingError(f'{source}: no frame could be read; check it with `seg_perception doctor`')
    kept = _finish(out, ranked, labels, top)
    click.echo(f'{kept} frames in {out}; begin at the top of {out / "uncertainty.csv"}')


def rank(name: str, confidence: npt.NDArray[np.uint8]) -> Ranked:
    """Summarise a confidence image, uint8 [H, W]."""
    doubt = 1 - confidence.ravel() / 255
    worst = np.partition(doubt, -max(1, doubt.size // 10))[-max(1, doubt.size // 10) :]
    return Ranked(name, float(doubt.mean()), float(worst.mean()))


def _write(out: Path, name: str, rgb: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8], labels: LabelMap) -> None:
    colors = labels.palette()[ids]
    cv2.imwrite(str(out / 'JPEGImages' / f'{name}.jpg'), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(out / 'SegmentationClass' / f'{name}.png'), cv2.cvtColor(colors, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(out / 'labels' / f'{name}.png'), ids)


def _finish(out: Path, ranked: list[Ranked], labels: LabelMap, top: int | None) -> int:
    """Write the lists, remove what `top` leaves out, and return the number of frames kept."""
    ranked = sorted(ranked, key=lambda r: -r.least_certain)
    for left_out in ranked[top:] if top else ():
        for folder, suffix in (('JPEGImages', 'jpg'), ('SegmentationClass', 'png'), ('labels', 'png')):
            (out / folder / f'{left_out.name}.{suffix}').unlink()
    ranked = ranked[:top]
    with (out / 'uncertainty.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(Ranked._fields)
        writer.writerows((r.name, f'{r.uncertainty:.4f}', f'{r.least_certain:.4f}') for r in ranked)
    names = ''.join(f'{r.name}\n' for r in ranked)
    (out / 'ImageSets' / 'Segmentation' / 'default.txt').write_text(names, encoding='utf-8')
    rows = [f'{c.name}:{c.color[0]},{c.color[1]},{c.color[2]}::' for c in labels.classes]
    header = '# label:color_rgb:parts:actions\nbackground:0,0,0::\n'
    (out / 'labelmap.txt').write_text(header + '\n'.join(rows) + '\n', encoding='utf-8')
    with (out / 'classes.csv').open('w', newline='', encoding='utf-8') as file:
        table = csv.writer(file)
        table.writerow(('id', 'name', 'role'))
        table.writerows((c.id, c.name, c.role.value) for c in labels.classes)
    return len(ranked)
