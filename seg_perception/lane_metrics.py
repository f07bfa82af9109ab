"""Lane lines, outlines and footprints against the exact truth of a synthetic scene."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.labels import DEFAULT_LABELS, LabelMap, Role
from seg_perception.postprocess import (
    ContourConfig,
    LaneLine,
    Lanes,
    drivable_outlines,
    obstacle_footprints,
    role_mask,
)
from seg_perception.scene import Footprint, SceneFrame
from seg_perception.scene import LaneLine as TrueLine

Float64 = npt.NDArray[np.float64]
UInt8 = npt.NDArray[np.uint8]

RANGE_M = 30.0
BANDS_M = ((0.0, 15.0), (15.0, RANGE_M))
STEP_M = 0.25
FOUND_M = 0.5
"""A line found lies closer to the true one than this, on average; one farther from every true line is false."""
VISIBLE_PAINT_M = 4.0
VISIBLE_SPAN_M = 8.0
"""A true line counts as visible when so much of its paint is in the label image, from its first to its last paint."""
CELL_M = 0.2


class ThingScores(NamedTuple):
    """Averages over the frames that were added; None where there was nothing to measure."""

    frames: int
    lane_lateral_error_m: dict[str, dict[str, float]]
    """Median and 95th percentile of the lateral error of lines found, for each band of range in metres."""
    lane_found: float | None
    """Share of visible lines that were found."""
    lane_false_per_100: float
    """Lines that are no true line, per 100 frames."""
    outline_iou: float | None
    """Of the drivable outlines on the ground within RANGE_M against the true drivable ground in view."""
    footprint_error_m: float | None
    """Median distance of obstacle contacts from the nearest true footprint's edge."""


class ThingScorer:
    """Adds up frames; `scores` gives the result."""

    def __init__(self) -> None:
        self._frames = self._visible = self._found = self._false = 0
        self._errors: list[Float64] = []
        self._iou: list[float] = []
        self._footprint_errors: list[Float64] = []

    def add(self, frame: SceneFrame, camera: str, mounting: tuple[CameraModel, Pose], lanes: Lanes) -> None:
        """Score the lane lines of one frame.

        Args:
            frame: the truth; `camera` names the view whose paint decides what is visible.
            mounting: the camera at the size of the view's labels, and its pose.
            lanes: what was found, in the vehicle frame of the frame.
        """
        self._frames += 1
        labels = frame.cameras[camera].labels
        true = [_visible_points(t, labels, *mounting) for t in frame.lane_lines]
        matched: set[int] = set()
        for points, painted in true:
            best = min(((_lateral(line, points), i) for i, line in enumerate(lanes.lines)), key=_mean, default=None)
            hit = best is not None and _mean(best) < FOUND_M
            if best is not None and hit:
                matched.add(best[1])
                self._errors.append(best[0])
            if len(painted) * STEP_M >= VISIBLE_PAINT_M and np.ptp(painted[:, 0]) >= VISIBLE_SPAN_M:
                self._visible += 1
                self._found += hit
        for i, line in enumerate(lanes.lines):
            if i not in matched and _distance_m(line, frame.lane_lines) > FOUND_M:
                self._false += 1

    def add_regions(
        self, frame: SceneFrame, camera: str, mounting: tuple[CameraModel, Pose], labels: UInt8, label_map: LabelMap
    ) -> None:
        """Score outlines and footprints that come from `labels`, uint8 [h, w] of any size of the same view."""
        model, pose = mounting
        config = ContourConfig(max_range_m=RANGE_M)
        small = model.resized(labels.shape[1], labels.shape[0])
        mask = role_mask(labels, label_map, Role.ROAD, Role.LANE)
        found = np.zeros((round(RANGE_M / CELL_M), round(2 * RANGE_M / CELL_M)), np.uint8)
        for outline in drivable_outlines(mask, config, small, pose):
            rings = [r for r in (outline.ring_m, *(outline.holes_m or ())) if r is not None]
            part = np.zeros_like(found)
            cv2.fillPoly(part, [np.round(_to_cells(r)).astype(np.int32) for r in rings], 1)
            found |= part
        seen, drivable = _true_ground(frame.cameras[camera].labels, model, pose, found.shape)
        both, either = (found & drivable & seen).sum(), ((found | drivable) & seen).sum()
        if either:
            self._iou.append(float(both / either))
        obstacles = set(DEFAULT_LABELS.ids(Role.OBSTACLE))
        true = [f for f in frame.footprints if f.label in obstacles]
        for footprint in obstacle_footprints(labels, label_map, config, small, pose):
            near = footprint.contact_m[np.hypot(*footprint.contact_m.T) <= RANGE_M]
            if true and footprint.contact_seen and len(near):
                self._footprint_errors.append(_edge_distances(near, true))

    def scores(self) -> ThingScores:
        """Return the averages so far."""
        errors = np.concatenate(self._errors) if self._errors else np.zeros((0, 2))
        bands = {}
        for low, high in BANDS_M:
            inside = errors[(errors[:, 0] >= low) & (errors[:, 0] < high), 1]
            if len(inside):
                values = {'median': float(np.median(inside)), 'p95': float(np.percentile(inside, 95))}
                bands[f'{low:g}-{high:g} m'] = values
        footprints = np.concatenate(self._footprint_errors) if self._footprint_errors else np.zeros(0)
        return ThingScores(
            self._frames,
            bands,
            self._found / self._visible if self._visible else None,
            100.0 * self._false / max(self._frames, 1),
            float(np.mean(self._iou)) if self._iou else None,
            float(np.median(footprints)) if len(footprints) else None,
        )


def summary(name: str, scores: ThingScores) -> str:
    """Return one line of text."""
    errors = ', '.join(
        f'{band} median {v["median"]:.3f} p95 {v["p95"]:.3f} m' for band, v in scores.lane_lateral_error_m.items()
    )

    def figure(value: float | None) -> str:
        return '-' if value is None else f'{value:.3f}'

    return (
        f'{name}: lane lines {errors or "none"}; found {figure(scores.lane_found)}, '
        f'false per 100 frames {scores.lane_false_per_100:.1f}; outline IoU {figure(scores.outline_iou)}, '
        f'footprints {figure(scores.footprint_error_m)} m'
    )


def _mean(match: tuple[Float64, int]) -> float:
    return float(match[0][:, 1].mean()) if len(match[0]) else np.inf


def _visible_points(line: TrueLine, labels: UInt8, camera: CameraModel, pose: Pose) -> tuple[Float64, Float64]:
    """Return points [N, 2] of a true line in view within RANGE_M, and those of them whose pixel is a marking."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line.points_m, axis=0).T))])
    at = np.arange(0.0, along[-1], STEP_M)
    points = np.column_stack([np.interp(at, along, line.points_m[:, i]) for i in (0, 1)])
    points = points[(points[:, 0] > 0) & (np.hypot(*points.T) < RANGE_M)]
    if not len(points):
        return points, points
    pixels, valid = camera.project(pose.inverse().transform(np.column_stack([points, np.zeros(len(points))])))
    column, row = np.round(pixels).astype(int).T
    valid &= (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    points, column, row = points[valid], column[valid], row[valid]
    return points, points[np.isin(labels[row, column], DEFAULT_LABELS.ids(Role.LANE))]


def _lateral(line: LaneLine, points: Float64) -> Float64:
    """Return [N, 2] range and lateral error at the true points inside the line's visible range."""
    inside = points[(points[:, 0] >= line.x_start_m) & (points[:, 0] <= line.x_end_m)]
    if len(inside) * STEP_M < 1.0:
        return np.zeros((0, 2))
    return np.column_stack([inside[:, 0], np.abs(line.y_m(inside[:, 0]) - inside[:, 1])])


def _distance_m(line: LaneLine, true: list[TrueLine]) -> float:
    """Mean distance of a found line within RANGE_M from the nearest true one, junctions bridged."""
    x = np.linspace(line.x_start_m, max(line.x_start_m, min(line.x_end_m, RANGE_M)), 9)
    points = np.column_stack([x, line.y_m(x)])
    return min((float(_nearest(points, t.points_m).mean()) for t in _continued(true)), default=np.inf)


def _continued(true: list[TrueLine]) -> list[TrueLine]:
    """Join the pieces of a line before and after a junction, by their lateral place."""
    joined: list[TrueLine] = []
    for t in sorted((t for t in true if len(t.points_m) > 1), key=lambda t: float(t.points_m[0, 0])):
        for i, before in enumerate(joined):
            end, step = before.points_m[-1], before.points_m[-1] - before.points_m[-2]
            ahead = t.points_m[0] - end
            across = abs(float(step[0] * ahead[1] - step[1] * ahead[0])) / float(np.hypot(*step))
            if before.kind == t.kind and across < FOUND_M and 0 < ahead[0] < RANGE_M:
                joined[i] = before._replace(points_m=np.vstack([before.points_m, t.points_m]))
                break
        else:
            joined.append(t)
    return joined


def _nearest(points: Float64, polyline: Float64) -> Float64:
    """Return the distance of each point [N, 2] from a polyline [M, 2]."""
    a, b = polyline[:-1], polyline[1:]
    edge = b - a
    length = np.maximum((edge**2).sum(axis=1), 1e-12)
    t = np.clip(((points[:, None] - a) * edge).sum(axis=2) / length, 0.0, 1.0)
    return np.asarray(np.linalg.norm(points[:, None] - (a + t[..., None] * edge), axis=2).min(axis=1))


def _edge_distances(points: Float64, footprints: list[Footprint]) -> Float64:
    rings = [np.vstack([f.polygon_m, f.polygon_m[:1]]) for f in footprints]
    return np.asarray(np.min([_nearest(points, r) for r in rings], axis=0))


def _to_cells(points: Float64) -> Float64:
    """Column (y) and row (x) of points in the scoring raster."""
    return np.column_stack([(points[:, 1] + RANGE_M) / CELL_M - 0.5, points[:, 0] / CELL_M - 0.5])


def _true_ground(labels: UInt8, camera: CameraModel, pose: Pose, shape: tuple[int, int]) -> tuple[UInt8, UInt8]:
    """Return which cells are in view within RANGE_M, and which of them show drivable ground in the true labels."""
    row, column = np.indices(shape)
    points = np.column_stack([(row.ravel() + 0.5) * CELL_M, (column.ravel() + 0.5) * CELL_M - RANGE_M])
    pixels, valid = camera.project(pose.inverse().transform(np.column_stack([points, np.zeros(len(points))])))
    u, v = np.round(np.nan_to_num(pixels, nan=-1.0)).astype(int).T
    valid &= (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    valid &= np.hypot(*(points - pose.translation_m[:2]).T) <= RANGE_M
    shown = np.zeros(len(points), np.uint8)
    shown[valid] = DEFAULT_LABELS.drivable_lut()[labels[v[valid], u[valid]]]
    return valid.reshape(shape).astype(np.uint8), shown.reshape(shape)
