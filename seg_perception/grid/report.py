"""Pictures and a page of an evaluation of the grid."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.score import Cells, GridScore, in_vehicle_frame
from seg_perception.grid.trials import Outcome
from seg_perception.grid.types import FREE, OCCUPIED

SCALE = 2
COLORS = {FREE: (236, 240, 232), OCCUPIED: (40, 40, 46)}
UNKNOWN_COLOR = (150, 156, 164)
WRONG_COLOR = (214, 60, 50)

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1150px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: 3px 10px; border-bottom: 1px solid #ddd }
td { text-align: right } td:first-child, th:first-child { text-align: left } img { max-width: 100%; display: block }
.bad { color: #b3261e; font-weight: 600 } figcaption { margin: .3em 0 1.4em; color: #555 } figure { margin: 0 }
"""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    score: GridScore
    passed: bool | None  # None where there is no bar


def draw_grid(cells: Cells, truth: Cells | None = None) -> npt.NDArray[np.uint8]:
    """RGB picture of a vehicle-frame grid, forward up, left to the left; wrongly free cells are red."""
    picture = np.full((*cells.shape, 3), UNKNOWN_COLOR, np.uint8)
    for value, color in COLORS.items():
        picture[cells == value] = color
    if truth is not None:
        picture[(cells == FREE) & (truth != FREE)] = WRONG_COLOR
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2)[::-1, ::-1])
    return np.asarray(cv2.resize(turned, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST), np.uint8)


def draw_outcome(outcome: Outcome) -> npt.NDArray[np.uint8]:
    """RGB strip: picture, truth, single frame, fused."""
    truth = outcome.truth.cells
    window = outcome.truth.window
    fused = in_vehicle_frame(outcome.fused, outcome.odom_from_vehicle, window)
    grids = [draw_grid(truth), draw_grid(outcome.single.cells, truth), draw_grid(fused)]
    height = grids[0].shape[0] // 2
    small = [cv2.resize(g, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for g in grids]
    image = outcome.view.image
    width = round(image.shape[1] * height / image.shape[0])
    strip = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), *small]
    gap = np.full((height, 8, 3), 255, np.uint8)
    return np.hstack([part for piece in strip for part in (piece, gap)]).astype(np.uint8)


def page(title: str, rows: Sequence[Row], pictures: Mapping[str, npt.NDArray[np.uint8]], notes: str) -> str:
    """One self-contained HTML page."""
    heads = ('configuration', 'free IoU', 'occupied IoU', 'range error median', 'p95', 'false free cells', 'worst m',
             'hidden free cells', 'frames')  # fmt: skip
    lines = [f'<tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr>']
    for row in rows:
        values = ''.join(f'<td>{v}</td>' for v in figures(row.score))
        mark = ' class="bad"' if row.passed is False else ''
        lines.append(f'<tr><td{mark}>{html.escape(row.name)}</td>{values}</tr>')
    figures_html = [
        f'<figure><img alt="" src="data:image/png;base64,{_png(picture)}"><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, picture in pictures.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f'<h1>{html.escape(title)}</h1><p>{html.escape(notes)}</p><table>{"".join(lines)}</table>'
        '<h2>Picture, truth, single frame, fused</h2><p>Light: free. Dark: occupied. Grey: unknown, or not visible. '
        f'Red: called free and not so in truth.</p>{"".join(figures_html)}</html>'
    )


def figures(score: GridScore) -> tuple[str, ...]:
    """The columns of the table after the name, as text."""
    total = score.total
    return (
        f'{total.free_iou:.4f}',
        f'{total.occupied_iou:.4f}',
        *('-' if math.isnan(v) else f'{v:.2%}' for v in (total.range_error_median, total.range_error_p95)),
        str(score.false_free_cells),
        f'{score.false_free_worst_m:.2f}',
        str(score.hidden_free_cells),
        str(score.frames),
    )


def measures(score: GridScore) -> dict[str, float | int | list[dict[str, float]]]:
    """The JSON form of a score."""
    return {
        'free_iou': score.total.free_iou,
        'occupied_iou': score.total.occupied_iou,
        'range_error_median': score.total.range_error_median,
        'range_error_p95': score.total.range_error_p95,
        'solid_range_error_median': score.solid_range_error_median,
        'solid_range_error_p95': score.solid_range_error_p95,
        'false_free_cells': score.false_free_cells,
        'false_free_worst_m': score.false_free_worst_m,
        'hidden_free_cells': score.hidden_free_cells,
        'hidden_free_worst_m': score.hidden_free_worst_m,
        'hidden_occupied_free_cells': score.hidden_occupied_free_cells,
        'bearings': score.total.bearings,
        'missed_bearings': score.total.missed,
        'frames': score.frames,
        'bands': [b._asdict() for b in score.bands],
    }


def _png(picture: npt.NDArray[np.uint8]) -> str:
    data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    return base64.b64encode(data.tobytes()).decode()
