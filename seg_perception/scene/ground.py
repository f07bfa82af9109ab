"""The ground in road coordinates: exact labels and their picture, one raster for both."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.scene.textures import noise
from seg_perception.scene.types import LANE_MARKING, PAVEMENT, ROAD, Image

CELL_M = 0.05
"""Every painted edge lies on a multiple of this, so that labels sampled from the raster are exact."""

HALF_WIDTH_M = 32.0
LINE_WIDTH_M = 0.15
LANE_M = 3.5


class Layout(NamedTuple):
    """Choices that the ground and everything on it share."""

    lanes: int  # on each side of the reference line
    parking_m: float  # width of the parking strip outside the edge lines; 0 for none
    pavement_m: float
    junctions_m: tuple[float, ...]  # stations of side streets
    side_half_m: float  # half the width of a side street

    @property
    def edge_m(self) -> float:
        """Offset of the painted edge line from the reference line."""
        return self.lanes * LANE_M

    @property
    def half_road_m(self) -> float:
        """Offset of the kerb from the reference line."""
        return self.edge_m + self.parking_m

    @property
    def house_m(self) -> float:
        """Offset of the house fronts."""
        return self.half_road_m + self.pavement_m

    def near_junction(self, station_m: float, margin_m: float) -> bool:
        """Whether a station lies within a side street's width plus a margin."""
        return any(abs(station_m - j) < self.side_half_m + margin_m for j in self.junctions_m)


class Ground(NamedTuple):
    """Rasters [stations, offsets]; row 0 is at start_m, column 0 at -HALF_WIDTH_M."""

    labels: Image
    image: Image  # RGB
    coarse: Image  # image at a quarter of the resolution, for far away
    start_m: float


def build_ground(rng: np.random.Generator, layout: Layout, start_m: float, end_m: float) -> Ground:
    """Paint roads, kerbs and markings."""
    rows, columns = round((end_m - start_m) / CELL_M), round(2 * HALF_WIDTH_M / CELL_M)
    painter = _Painter(rows, columns, start_m)
    painter.fill(start_m, end_m, -HALF_WIDTH_M, HALF_WIDTH_M, PAVEMENT, 150)
    for joint in np.arange(start_m, end_m, 0.6).tolist():
        painter.shade(joint, joint + CELL_M, -HALF_WIDTH_M, HALF_WIDTH_M, 138)
    w = layout.half_road_m
    for side in (-w - 0.2, w):
        painter.fill(start_m, end_m, side, side + 0.2, PAVEMENT, 182)
    painter.fill(start_m, end_m, -w, w, ROAD, 92)
    for j in layout.junctions_m:
        half = layout.side_half_m
        for kerb in (-half - 0.2, half):
            painter.fill(j + kerb, j + kerb + 0.2, -HALF_WIDTH_M, -w, PAVEMENT, 182)
            painter.fill(j + kerb, j + kerb + 0.2, w, HALF_WIDTH_M, PAVEMENT, 182)
        painter.fill(j - half, j + half, -HALF_WIDTH_M, HALF_WIDTH_M, ROAD, 88)
    _mark_lines(painter, layout, start_m, end_m)
    for j in layout.junctions_m:
        _mark_junction(painter, layout, j)
    return painter.finish(rng)


def line_offsets(layout: Layout) -> list[tuple[float, str]]:
    """Offsets of the centres, and kinds, of the painted lines along the road, from right to left."""
    lines = [(-layout.edge_m, 'solid'), (0.0, 'dashed' if layout.lanes == 1 else 'solid'), (layout.edge_m, 'solid')]
    for lane in range(1, layout.lanes):
        lines += [(-lane * LANE_M, 'dashed'), (lane * LANE_M, 'dashed')]
    return [(offset + CELL_M / 2, kind) for offset, kind in sorted(lines)]


def _mark_lines(painter: _Painter, layout: Layout, start_m: float, end_m: float) -> None:
    for offset, kind in line_offsets(layout):
        low = offset - LINE_WIDTH_M / 2  # a multiple of CELL_M
        if kind == 'solid':
            painter.mark(start_m, end_m, low, low + LINE_WIDTH_M)
        else:
            for station in np.arange(np.ceil(start_m / 9) * 9, end_m - 3, 9.0):
                painter.mark(station, station + 3.0, low, low + LINE_WIDTH_M)


def _mark_junction(painter: _Painter, layout: Layout, junction_m: float) -> None:
    """Clear the lines, then paint a zebra crossing before the side street and stop lines on it."""
    w, half = layout.half_road_m, layout.side_half_m
    painter.fill(junction_m - half - 6.0, junction_m + half + 1.0, -w, w, ROAD, 90)
    zebra = junction_m - half - 5.0
    for offset in np.arange(-w + 0.25, w - 0.5, 1.0).tolist():
        painter.mark(zebra, zebra + 3.0, offset, offset + 0.5)
    painter.mark(zebra - 1.5, zebra - 1.2, -w + 0.2, -0.2)
    painter.mark(junction_m - half + 0.2, junction_m - 0.1, w + 1.0, w + 1.3)
    painter.mark(junction_m + 0.1, junction_m + half - 0.2, -w - 1.3, -w - 1.0)


class _Painter:
    def __init__(self, rows: int, columns: int, start_m: float) -> None:
        self.labels = np.zeros((rows, columns), np.uint8)
        self.grey = np.zeros((rows, columns), np.uint8)
        self.start_m = start_m

    def _window(self, s0: float, s1: float, d0: float, d1: float) -> tuple[slice, slice]:
        r0, r1 = (max(0, round((s - self.start_m) / CELL_M)) for s in (s0, s1))
        c0, c1 = (max(0, round((d + HALF_WIDTH_M) / CELL_M)) for d in (d0, d1))
        return slice(r0, r1), slice(c0, c1)

    def fill(self, s0: float, s1: float, d0: float, d1: float, label: int, grey: int) -> None:
        window = self._window(s0, s1, d0, d1)
        self.labels[window] = label
        self.grey[window] = grey

    def mark(self, s0: float, s1: float, d0: float, d1: float) -> None:
        self.fill(s0, s1, d0, d1, LANE_MARKING, 225)

    def shade(self, s0: float, s1: float, d0: float, d1: float, grey: int) -> None:
        self.grey[self._window(s0, s1, d0, d1)] = grey

    def finish(self, rng: np.random.Generator) -> Ground:
        """Add grain, wear and stains, in one tile repeated along the road."""
        rows, columns = self.grey.shape
        tile_rows = 1024
        grain = noise(rng, tile_rows, columns, 1, 5.0) + noise(rng, tile_rows, columns, 6, 2.5)
        stain = noise(rng, tile_rows, columns, 90, 5.0)
        tile = np.clip(128 + grain + stain, 0, 255).astype(np.uint8)
        worn = np.clip(128 + 3 * grain, 96, 150).astype(np.uint8)
        grey = self.grey.astype(np.int16)
        for top in range(0, rows, tile_rows):
            part = slice(top, min(rows, top + tile_rows))
            count = part.stop - part.start
            paint = self.labels[part] == LANE_MARKING
            grey[part] += np.where(paint, worn[:count], tile[:count]).astype(np.int16) - 128
        level = np.clip(grey, 0, 255).astype(np.uint8)
        tint = np.where(self.labels == PAVEMENT, np.uint8(6), np.uint8(0))
        image = cv2.merge([cv2.add(level, tint), level, cv2.subtract(level, tint)])
        coarse = cv2.resize(image, (columns // 4, rows // 4), interpolation=cv2.INTER_AREA)
        return Ground(self.labels, np.asarray(image, np.uint8), np.asarray(coarse, np.uint8), self.start_m)
