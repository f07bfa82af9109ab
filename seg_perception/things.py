"""What a run has found on the ground, in the vehicle frame at its newest image: labelled points, and polylines to show.

The node and the offline tools make messages of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.grid import POINT, GridConfig, GroundPoints, ground_points
from seg_perception.labels import LabelMap
from seg_perception.pipeline import CameraResult, motion_to
from seg_perception.postprocess import (
    ContourConfig,
    Lanes,
    above_ground,
    drivable_outlines,
    ego_road,
    obstacle_footprints,
)

Rgba = tuple[float, float, float, float]
EGO, LINE, ROAD, OBSTACLE = (1.0, 0.85, 0.1, 1.0), (0.95, 0.95, 0.95, 0.9), (0.1, 0.75, 0.3, 0.9), (0.9, 0.1, 0.1, 1.0)


class Shape(NamedTuple):
    """One polyline on the ground."""

    kind: str
    """'lane_lines', 'road' or 'obstacles'."""
    camera: str
    """Which camera saw it; '' for what all of them gave."""
    id: int
    """Stable for a lane line; a place in the list of its kind and camera for the rest."""
    points_m: npt.NDArray[np.float64]
    """[N, 2] vehicle frame."""
    width_m: float
    color: Rgba
    """Each 0 to 1."""

    @property
    def key(self) -> tuple[str, int]:
        """Namespace and id of its marker."""
        return f'{self.kind}/{self.camera}' if self.camera else self.kind, self.id


class Shown:
    """Which markers are on display."""

    def __init__(self) -> None:
        self._cameras: dict[tuple[str, int], str] = {}

    def update(self, shapes: Sequence[Shape], cameras: Collection[str]) -> list[tuple[str, int]]:
        """Take the shapes of one run of `cameras`; return the keys of those shown before that these see no more.

        What other cameras have seen stays until they say more.
        """
        now = {s.key: s.camera for s in shapes}
        gone = [key for key, seen_by in self._cameras.items() if key not in now and seen_by in ('', *cameras)]
        for key in gone:
            del self._cameras[key]
        self._cameras |= now
        return gone


def is_placed(result: CameraResult) -> bool:
    """Say whether it is known where on the ground the labels lie; all functions here take such results only."""
    return result.problem is None and result.camera_model is not None and result.vehicle_from_camera is not None


def newest_of(results: Sequence[CameraResult]) -> CameraResult:
    """Return the result whose stamp all things of a run get."""
    return max(results, key=lambda r: r.stamp_ns)


def all_ground_points(results: Sequence[CameraResult], grid: GridConfig, labels: LabelMap) -> GroundPoints | None:
    """Return the labelled ground points of all cameras; None when no camera sees ground."""
    newest, found = newest_of(results), []
    for r in results:
        try:
            points = ground_points(r.observation(), grid, labels, r.visible)
        except CameraError:
            continue  # reported where the grid leaves this camera out
        motion = motion_to(newest, r)
        if motion is not None:
            points['x'], points['y'], points['z'] = motion.transform(np.array([points[i] for i in 'xyz'], float).T).T
        found.append(points)
    if len(found) < 2:
        return found[0] if found else None
    # As bytes: of records NumPy would pack the fields.
    return np.concatenate([points.view(np.uint8) for points in found]).view(POINT)


def lane_shapes(lanes: Lanes) -> Iterator[Shape]:
    """Yield one shape per lane line; those of the vehicle's own lane stand out."""
    ego = {line.id for line in (lanes.ego_left, lanes.ego_right) if line is not None}
    for line in lanes.lines:
        yield Shape('lane_lines', '', line.id, line.points_m(), 0.15, EGO if line.id in ego else LINE)


def region_shapes(
    results: Sequence[CameraResult], labels: LabelMap, contours: ContourConfig, ground_z_m: float
) -> Iterator[Shape]:
    """Yield the outlines of the road ahead, closed, and where obstacles touch the ground, camera by camera."""
    newest = newest_of(results)
    for r in results:
        seen, motion = r.observation(), motion_to(newest, r)
        geometry = (seen.camera_model, above_ground(seen.vehicle_from_camera, ground_z_m))
        outlines = drivable_outlines(ego_road(r.labels, labels, *geometry), contours, *geometry)
        rings = [ring for o in outlines for ring in (o.ring_m, *(o.holes_m or ())) if ring is not None]
        for i, ring in enumerate(rings):
            yield Shape('road', r.camera, i, _moved(np.vstack([ring, ring[:1]]), motion), 0.1, ROAD)
        for i, footprint in enumerate(obstacle_footprints(r.labels, labels, contours, *geometry)):
            yield Shape('obstacles', r.camera, i, _moved(footprint.contact_m, motion), 0.25, OBSTACLE)


def _moved(points_m: npt.NDArray[np.float64], motion: Pose | None) -> npt.NDArray[np.float64]:
    if motion is None:
        return points_m
    return motion.transform(np.column_stack([points_m, np.zeros(len(points_m))]))[:, :2]
