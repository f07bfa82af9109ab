"""Line and area charts as SVG text: small, sharp, and drawn in milliseconds, which a plotting library is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 760, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 30
MAX_POINTS = 600
Array = npt.NDArray[np.float64]


class Series(NamedTuple):
    """One line, or one area of a stack."""

    name: str
    values: Array
    """[N]; NaN leaves a gap."""
    color: str


class Axes(NamedTuple):
    """Ranges of both axes and the unit of y."""

    x_low: float
    x_high: float
    y_high: float
    unit: str

    def x(self, value: float) -> float:
        """Pixel of an x value."""
        return LEFT + (value - self.x_low) / max(self.x_high - self.x_low, 1e-9) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixel of a y value; the axis begins at zero."""
        return HEIGHT - BOTTOM - value / max(self.y_high, 1e-9) * (HEIGHT - TOP - BOTTOM)


def thin(x: Array, series: Sequence[Series]) -> tuple[Array, list[Series]]:
    """Average neighbours of x [N] and of all series until no more than MAX_POINTS are left."""
    step = -(-len(x) // MAX_POINTS)
    if step <= 1:
        return x, list(series)
    cuts = np.arange(0, len(x), step)

    def mean(values: Array) -> Array:
        known = np.isfinite(values)
        count = np.add.reduceat(known.astype(float), cuts)
        total = np.add.reduceat(np.where(known, values, 0.0), cuts)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return mean(x), [s._replace(values=mean(s.values)) for s in series]


def line_chart(x: Array, series: Sequence[Series], unit: str, *, y_high: float | None = None) -> str:
    """Return an SVG of lines over x, [N] seconds; '' where there are none.

    Args:
        y_high: top of the axis; None fits the values.
    """
    x, series = thin(x, series)
    if not len(x):
        return ''
    top = y_high or max((float(np.nanmax(s.values)) for s in series if np.isfinite(s.values).any()), default=1.0)
    axes = Axes(float(x[0]), float(x[-1]), top * (1.0 if y_high else 1.08) or 1.0, unit)
    body = ''.join(_line(axes, x, s) for s in series)
    return _svg(axes, body, series)


def area_chart(x: Array, series: Sequence[Series], unit: str) -> str:
    """Return an SVG of areas on top of each other over x, [N] seconds; their sum is the top of the axis."""
    x, series = thin(x, series)
    if not len(x):
        return ''
    total = np.sum([s.values for s in series], axis=0)
    axes = Axes(float(x[0]), float(x[-1]), float(total.max()) or 1.0, unit)
    base: Array = np.zeros(len(x))
    parts = []
    for s in series:
        upper = base + s.values
        points = [(axes.x(a), axes.y(b)) for a, b in zip(x, upper, strict=True)]
        points += [(axes.x(a), axes.y(b)) for a, b in zip(x[::-1], base[::-1], strict=True)]
        parts.append(f'<path d="{_path(points)}Z" fill="{s.color}"><title>{escape(s.name)}</title></path>')
        base = upper
    return _svg(axes, ''.join(parts), series)


def _line(axes: Axes, x: Array, series: Series) -> str:
    runs: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, series.values, strict=True):
        if math.isfinite(b):
            runs[-1].append((axes.x(float(a)), axes.y(min(float(b), axes.y_high))))
        elif runs[-1]:
            runs.append([])
    path = ''.join(_path(r if len(r) > 1 else [*r, *r]) for r in runs if r)
    title = f'<title>{escape(series.name)}</title>'
    return (
        f'<path d="{path}" fill="none" stroke="{series.color}" stroke-width="1.6" stroke-linecap="round">{title}</path>'
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in points)


def _svg(axes: Axes, body: str, series: Sequence[Series]) -> str:
    marks = []
    for value in _ticks(axes.y_high):
        y = axes.y(value)
        marks.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(axes.x_high - axes.x_low):
        x = axes.x(axes.x_low + value)
        marks.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{value:g} s</text>')
    unit = f'<text x="2" y="{TOP + 4}">{escape(axes.unit)}</text>'
    keys = ''.join(f'<span><i style="background:{s.color}"></i>{escape(s.name)}</span>' for s in series)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{body}{"".join(marks)}{unit}</svg>'
        f'<div class="keys">{keys}</div>'
    )


def _ticks(span: float) -> list[float]:
    """Return about five round values from zero."""
    if not span > 0:
        return [0.0]
    raw = span / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return [round(i * step, 9) for i in range(int(span / step + 1e-9) + 1)]
