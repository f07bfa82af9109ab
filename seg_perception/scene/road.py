"""The road's reference line, and road coordinates: station along it, offset to its left."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.scene.types import Float

STEP_M = 0.25
FIELD_STEP_M = 0.5
MARGIN_M = 45.0


class Road:
    """A smooth line of straights and arcs with linear transitions, and look-ups in both directions.

    Args:
        curvature_1pm: curvature at every STEP_M from `start_m` on.
        start_m: station of the first sample; the line passes through (0, 0) heading along x at station 0.
    """

    def __init__(self, curvature_1pm: Float, start_m: float) -> None:
        self.start_m = start_m
        self.stations_m = start_m + np.arange(len(curvature_1pm)) * STEP_M
        heading = np.concatenate([[0.0], np.cumsum((curvature_1pm[1:] + curvature_1pm[:-1]) / 2 * STEP_M)])
        middle = (heading[1:] + heading[:-1]) / 2
        x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * STEP_M)])
        y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * STEP_M)])
        x0, y0, h0 = (float(np.interp(0.0, self.stations_m, v)) for v in (x, y, heading))
        c, s = np.cos(-h0), np.sin(-h0)
        self._x, self._y = c * (x - x0) - s * (y - y0), s * (x - x0) + c * (y - y0)
        self._heading = heading - h0
        self._curvature = curvature_1pm
        self._build_field()

    @property
    def end_m(self) -> float:
        """Station of the last sample."""
        return float(self.stations_m[-1])

    def heading_rad(self, station_m: Float | float) -> Float:
        """Direction of the road in the odom frame."""
        return np.asarray(np.interp(station_m, self.stations_m, self._heading))

    def point(self, station_m: Float | float, offset_m: Float | float = 0.0) -> Float:
        """Return odom coordinates [..., 2] of road coordinates."""
        h = self.heading_rad(station_m)
        x = np.interp(station_m, self.stations_m, self._x) - np.sin(h) * offset_m
        y = np.interp(station_m, self.stations_m, self._y) + np.cos(h) * offset_m
        return np.stack(np.broadcast_arrays(x, y), axis=-1)

    def _build_field(self) -> None:
        """Station and offset on a coarse lattice; both are smooth, so interpolation errs by less than a millimetre."""
        self._corner = np.array([self._x.min() - MARGIN_M, self._y.min() - MARGIN_M])
        far = np.array([self._x.max() + MARGIN_M, self._y.max() + MARGIN_M])
        columns, rows = np.ceil((far - self._corner) / FIELD_STEP_M).astype(int) + 1
        gx, gy = np.meshgrid(np.arange(columns), np.arange(rows))
        x, y = self._corner[0] + gx.ravel() * FIELD_STEP_M, self._corner[1] + gy.ravel() * FIELD_STEP_M
        coarse = slice(None, None, 40)
        squared = (x[:, None] - self._x[coarse]) ** 2 + (y[:, None] - self._y[coarse]) ** 2
        station = self.stations_m[coarse][squared.argmin(axis=1)]
        for _ in range(8):
            h = self.heading_rad(station)
            dx = x - np.interp(station, self.stations_m, self._x)
            dy = y - np.interp(station, self.stations_m, self._y)
            along, offset = dx * np.cos(h) + dy * np.sin(h), dy * np.cos(h) - dx * np.sin(h)
            bend = 1 - offset * np.interp(station, self.stations_m, self._curvature)
            station = station + np.clip(along / np.maximum(bend, 0.2), -20, 20)
        # Past the ends of the line the last direction goes on.
        field = np.stack([station, offset], axis=-1).astype(np.float32)
        self._field = field.reshape(rows, columns, 2)

    def coordinates(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (station, offset) float32 [H, W, 2] of odom points; -1e6 outside the patch."""
        u = (x - np.float32(self._corner[0])) * np.float32(1 / FIELD_STEP_M)
        v = (y - np.float32(self._corner[1])) * np.float32(1 / FIELD_STEP_M)
        border = (-1e6, -1e6)
        return np.asarray(cv2.remap(self._field, u, v, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, border), np.float32)
