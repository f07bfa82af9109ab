"""The video of a run: every camera with its overlay, and the grid beside them when there is one from the start."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception import draw
from seg_perception.grid import OccupancyGrid
from seg_perception.io.video import VideoWriter
from seg_perception.pipeline import CameraResult
from seg_perception.postprocess import Lanes

UInt8 = npt.NDArray[np.uint8]
NOMINAL_FPS = 25.0
"""Frames carry their own times; this is for players that want to know."""
TEXT_RGB, OUTLINE_RGB = (255, 255, 255), (0, 0, 0)
PANEL_RGB = 60


class RunVideo:
    """Opened with the first frame, whose size decides the video's."""

    def __init__(self, path: Path, cameras: tuple[str, ...]) -> None:
        self._path, self._cameras = path, cameras
        self._writer: VideoWriter | None = None
        self._latest: dict[str, UInt8] = {}
        self._blank: UInt8 = np.zeros((0, 0, 3), np.uint8)
        self._first_ns: int | None = None
        self._with_grid = False

    def write(
        self, seen: list[tuple[CameraResult, UInt8]], grid: OccupancyGrid | None, lanes: Lanes | None = None
    ) -> None:
        """Append one batch: the newest overlay of each camera, and the grid with the lane lines.

        Raises:
            RecordingError: the disk is full.
        """
        self._blank = np.zeros_like(seen[0][1]) if self._writer is None else self._blank
        height, width, _ = self._blank.shape
        for result, overlay in seen:
            fits = overlay.shape == self._blank.shape
            self._latest[result.camera] = (
                overlay if fits else np.asarray(cv2.resize(overlay, (width, height)), np.uint8)
            )
        newest = seen[-1][0]
        pictures = [self._latest.get(c, self._blank) for c in self._cameras]
        self._with_grid = grid is not None if self._writer is None else self._with_grid
        if self._with_grid:
            pictures.append(_grid_panel(grid, lanes, newest, height))
        picture = np.hstack(pictures)
        self._first_ns = newest.stamp_ns if self._first_ns is None else self._first_ns
        seconds = (newest.stamp_ns - self._first_ns) / 1e9
        for color, width in ((OUTLINE_RGB, 3), (TEXT_RGB, 1)):  # to be read before a white wall, too
            cv2.putText(picture, f'{seconds:.1f} s', (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, width, cv2.LINE_AA)
        if self._writer is None:
            self._writer = VideoWriter(self._path, NOMINAL_FPS, (picture.shape[1], picture.shape[0]))
        self._writer.write(picture, max(0.0, seconds))

    def close(self) -> None:
        """Finish the file.

        Raises:
            RecordingError: the disk is full.
        """
        if self._writer is not None:
            self._writer.close()


def in_proportion(picture: UInt8, aspect: float) -> UInt8:
    """Stretch a picture [h, w, 3] of the network's size to `aspect`, width by height, of the camera; the width is even."""
    height = picture.shape[0]
    width = 2 * max(1, round(height * aspect / 2))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _grid_panel(grid: OccupancyGrid | None, lanes: Lanes | None, result: CameraResult, height: int) -> UInt8:
    """Draw the grid in a square; without one, say why."""
    panel = np.full((height, height, 3), PANEL_RGB, np.uint8)
    if grid is None:
        for i, line in enumerate(_wrapped(f'No grid. {result.problem or ""}', max(10, height // 9))):
            cv2.putText(panel, line, (8, 44 + 18 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.45, TEXT_RGB, 1, cv2.LINE_AA)
        return panel
    vehicle = result.odom_from_vehicle if grid.frame == 'odom' else None
    picture = draw.grid_picture(grid, height, grid_from_vehicle=vehicle)
    if lanes:
        draw.grid_things(picture, grid, lanes, (), vehicle)
    width = min(picture.shape[1], height)
    panel[:, (height - width) // 2 : (height - width) // 2 + width] = picture[:, :width]
    return panel


def _wrapped(text: str, width: int) -> list[str]:
    lines = ['']
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append('')
        lines[-1] += f'{word} '
    return lines
