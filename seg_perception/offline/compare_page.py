"""`comparison.html`: two runs side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception.offline.charts import Array, Series, line_chart
from seg_perception.offline.compare import Comparison
from seg_perception.offline.report import COLORS, render, write_page
from seg_perception.offline.report_page import COMPARISON
from seg_perception.offline.thresholds import Check


def write_comparison(
    file: Path, found: Comparison, checks: Sequence[Check], runs: Sequence[tuple[Path, Mapping[str, Any]]]
) -> None:
    """Write the page.

    Raises:
        RecordingError: the disk is full.
    """
    (a, run_a), (b, run_b) = runs
    page = render(
        COMPARISON,
        title=f'{a.name} against {b.name}' if a.name != b.name else f'{a} against {b}',
        subtitle=f'A: {a} · B: {b}',
        tiles=tiles(found),
        checks=[
            {'name': c.name, 'found': number(c.found), 'limit': number(c.limit), 'ok': c.ok, 'verdict': c.verdict}
            for c in checks
        ],
        problems=found.problems,
        classes=[{k: v if k == 'name' else number(v) for k, v in c.items()} for c in found.classes],
        charts=_charts(found),
        runs=_facts(run_a, run_b),
    )
    write_page(file, page)


def number(value: float | None) -> str:
    """Write a figure; '-' when there is none."""
    return '-' if value is None else f'{value:.4f}'


def tiles(found: Comparison) -> list[tuple[str, str]]:
    """Return the figures that matter most, as (name, value)."""
    named = [
        ('frames compared', f'{found.frames}'),
        ('frames only in A / B', f'{found.only_a} / {found.only_b}'),
        ('pixels with another class', f'{found.label_disagreement:.3%}'),
        ('the same, worst frame', f'{found.worst_frame_disagreement:.3%}'),
    ]
    if found.grid_disagreement is not None and found.grid_disagreement_cells is not None:
        named.append(
            ('cells free in one grid only', f'{found.grid_disagreement_cells:.0f} ({found.grid_disagreement:.2%})')
        )
        named.append(('their area', f'{found.grid_disagreement_m2:.2f} m²'))
    if found.free_ahead_m is not None:
        named.append(('free distance differs by', f'{found.free_ahead_m:.2f} m'))
    if found.slowdown is not None:
        named.append(('network time B / A', f'{found.slowdown:.2f}'))
    return named


def _charts(found: Comparison) -> list[tuple[str, str]]:
    cameras = np.array(found.over_time['camera'])
    seconds, row = np.unique(np.array(found.over_time['seconds'], float), return_inverse=True)

    def column(name: str, camera: str | None = None) -> Array:
        """Return one value per moment, of one camera or of any; NaN at moments without one."""
        values = np.array(found.over_time[name], float)
        there = np.isfinite(values) & ((cameras == camera) | (camera is None))
        out = np.full(len(seconds), np.nan)
        out[row[there]] = values[there]
        return out

    labels = [
        Series(camera, column('label_disagreement', camera) * 100, color)
        for camera, color in zip(dict.fromkeys(found.over_time['camera']), itertools.cycle(COLORS))
    ]
    charts = [('Pixels with another class', line_chart(seconds, labels, '%'))]
    if found.grids:
        grid = Series('cells free in one grid only', column('grid_disagreement') * 100, COLORS[1])
        charts.append(('Grid disagreement', line_chart(seconds, [grid], '%')))
    ahead = [Series(run, column(f'free_ahead_{run.lower()}_m'), COLORS[i]) for i, run in enumerate('AB')]
    if any(np.isfinite(s.values).any() for s in ahead):
        charts.append(('Free distance ahead', line_chart(seconds, ahead, 'm')))
    return charts


def _facts(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    def facts(run: Mapping[str, Any]) -> dict[str, str]:
        model = run['settings']['model']
        return {
            'source': run['source'],
            'status': run['status'],
            'frames': str(run['frames']),
            'frames per second': f'{run["frames"] / run["seconds"]:.1f}',
            'model': f'{model["name"]} {model["precision"]} {model["sha256"][:12]}',
            'backend': f'{run["engine"]["backend"]} {run["engine"]["device"]} {run["engine"]["precision"]}',
            'version': run['settings']['version'],
        }

    first, second = facts(a), facts(b)
    return [(name, first[name], second[name]) for name in first]
