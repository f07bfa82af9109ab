"""The evaluation as one HTML page with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seg_perception.draw import overlay
from seg_perception.evaluation.measure import Evaluation, FrameScore, worst_first
from seg_perception.evaluation.truth import LabelledImage, read_truth
from seg_perception.frames import from_array, jpeg
from seg_perception.labels import VOID
from seg_perception.pipeline import Frame, Pipeline

SHOWN = 4
"""Best and worst frames shown."""


def write_report(
    folder: Path, result: Evaluation, figures: dict[str, Any], pipeline: Pipeline, items: Sequence[LabelledImage]
) -> Path:
    """Write `index.html` into `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = worst_first(result.frames)
    by_name = {item.name: item for item in items}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('seg_perception.evaluation'), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template('report.html').render(
        model=pipeline.engine.spec,
        info=pipeline.engine.info,
        figures=figures,
        legend=[(c.name, '#{:02x}{:02x}{:02x}'.format(*c.color)) for c in result.labels.classes],
        confusion=_png(_confusion_figure(result)),
        diagram=_png(_reliability_figure(result)),
        worst=[_picture(f, by_name[f.name], result, pipeline) for f in ordered[:SHOWN]],
        best=[_picture(f, by_name[f.name], result, pipeline) for f in ordered[::-1][:SHOWN]],
    )
    path = folder / 'index.html'
    path.write_text(page, encoding='utf-8')
    return path


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def _confusion_figure(result: Evaluation) -> Figure:
    confusion = result.confusion()
    present = confusion.sum(1) > 0
    shares = confusion[present] / confusion[present].sum(1, keepdims=True)
    rows = [c.name for c, keep in zip(result.table.classes, present, strict=True) if keep]
    figure = Figure(figsize=(7, 1.5 + 0.3 * len(rows)), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1, aspect='auto')
    axes.set_xticks(range(len(result.labels)), [c.name for c in result.labels.classes], rotation=30)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel='predicted', ylabel='truth', title='Share of the true class')
    for (y, x), share in np.ndenumerate(shares):
        if share >= 0.005:
            axes.text(x, y, f'{share:.0%}', ha='center', va='center', fontsize=8, color='w' if share > 0.5 else 'k')
    return figure


def _reliability_figure(result: Evaluation) -> Figure:
    share, confidence, accuracy = result.reliability().bins().T
    filled = share > 0
    figure = Figure(figsize=(5, 4.5), layout='constrained')
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], '--', color='gray', label='calibrated')
    axes.plot(confidence[filled], accuracy[filled], 'o-', label='measured')
    axes.bar(confidence[filled], share[filled], 0.05, alpha=0.3, label='share of pixels')
    axes.set(xlabel='confidence', ylabel='share of right labels', xlim=(0, 1), ylim=(0, 1.02), title='Reliability')
    axes.legend()
    return figure


def _picture(frame: FrameScore, item: LabelledImage, result: Evaluation, pipeline: Pipeline) -> dict[str, Any]:
    """Return the overlay with wrong roles in yellow, at half size, as a data URI."""
    image = np.asarray(cv2.imread(str(item.image), cv2.IMREAD_COLOR), np.uint8)
    height, width = image.shape[:2]
    labels = pipeline.run([Frame('image', 1, from_array(image))], want_grid=False).cameras[0].labels
    rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    painted = overlay(rgb, labels, result.labels)
    truth = read_truth(item, result.table, height, width)
    full = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    wrong = ~result.right.table[np.where(truth == VOID, 0, truth), full] & (truth != VOID)
    side = rgb.copy()
    side[wrong] = (255, 220, 0)
    pair = np.hstack([painted, side])
    small = cv2.resize(pair, (width, height // 2), interpolation=cv2.INTER_AREA)
    return {
        'name': frame.name,
        'accuracy': frame.role_accuracy,
        'data': base64.b64encode(jpeg(small, 85)).decode(),
    }
