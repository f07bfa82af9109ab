"""Camera geometry: intrinsics with lens distortion, and the pose of the optical frame in the vehicle.

Pixel coordinates put (0, 0) at the centre of the top left pixel, as OpenCV and ROS do. The
optical frame is x right, y down, z forward and the vehicle frame x forward, y left, z up
(REP 103, REP 105). Distortion models are those of sensor_msgs/CameraInfo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.distortion import Array, brown_conrady, equidistant, equidistant_inverse
from seg_perception.errors import CameraError

PLUMB_BOB = 'plumb_bob'
RATIONAL = 'rational_polynomial'
EQUIDISTANT = 'equidistant'
COEFFICIENTS = {PLUMB_BOB: (0, 4, 5), RATIONAL: (8, 12, 14), EQUIDISTANT: (4,)}
"""Accepted lengths of D for each sensor_msgs/CameraInfo distortion_model."""

OPTICAL_FROM_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Rotation from a body frame (x forward, y left, z up) to its optical frame (REP 103)."""


@dataclass(frozen=True, slots=True)
class CameraModel:
    """Intrinsics of one camera at one image size; hashable, so that equal models share look-up tables."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = PLUMB_BOB
    distortion: tuple[float, ...] = ()
    hood: float = 0.0
    """Share of the image's height, from its bottom, that shows the vehicle itself: no ground is seen there."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise CameraError(f'camera size is {self.width}x{self.height}; expected a positive size; check camera_info')
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(v) for v in numbers):
            raise CameraError(f'intrinsics or distortion hold NaN or infinity: {numbers}; recalibrate the camera')
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(f'focal lengths are {self.fx}, {self.fy} px; expected > 0: the camera is not calibrated')
        if not 0 <= self.hood < 1:
            raise CameraError(f'hood is {self.hood}; expected the share of the image that it covers, 0 to below 1')
        if self.distortion_model not in COEFFICIENTS:
            raise CameraError(f'distortion_model is {self.distortion_model!r}; expected one of {sorted(COEFFICIENTS)}')
        if len(self.distortion) not in COEFFICIENTS[self.distortion_model]:
            raise CameraError(
                f'{self.distortion_model} has {len(self.distortion)} coefficients; '
                f'expected {" or ".join(map(str, COEFFICIENTS[self.distortion_model]))}'
            )

    @classmethod
    def from_camera_info(
        cls,
        width: int,
        height: int,
        k: Sequence[float],
        d: Sequence[float],
        distortion_model: str,
        binning: tuple[int, int] = (0, 0),
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> CameraModel:
        """Build the model of the image as delivered from the fields of sensor_msgs/CameraInfo.

        Args:
            width, height: full sensor size the calibration was made at, in pixels.
            k: the 3x3 camera matrix, row-major.
            binning: (binning_x, binning_y); 0 means 1.
            roi: (x_offset, y_offset, width, height) in full resolution; zero size means the whole image.

        Raises:
            CameraError: not calibrated, NaN, an unknown model, or a region outside the sensor.
        """
        if len(k) != 9:
            raise CameraError(f'camera matrix K has {len(k)} values; expected 9')
        coefficients = tuple(float(v) for v in d)
        model = distortion_model or PLUMB_BOB
        full = cls(width, height, float(k[0]), float(k[4]), float(k[2]), float(k[5]), model, coefficients)
        x, y, roi_width, roi_height = roi
        if roi_width and roi_height:
            full = full.cropped(x, y, roi_width, roi_height)
        bin_x, bin_y = (max(1, b) for b in binning)
        if bin_x * bin_y == 1:
            return full
        width, height = full.width // bin_x, full.height // bin_y
        return full.cropped(0, 0, width * bin_x, height * bin_y).resized(width, height)  # what fills no bin is left out

    def resized(self, width: int, height: int) -> CameraModel:
        """Return the model of the same view resampled to another size (pixel areas scaled, as cv2.resize does)."""
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> CameraModel:
        """Return the model of the rectangle at (x, y).

        Raises:
            CameraError: the rectangle leaves the image.
        """
        if x < 0 or y < 0 or width <= 0 or height <= 0 or x + width > self.width or y + height > self.height:
            raise CameraError(
                f'crop x={x} y={y} {width}x{height} does not fit in {self.width}x{self.height}; correct the region'
            )
        hood = max(0.0, 1 - (self.height * (1 - self.hood) - y) / height)
        return replace(self, width=width, height=height, cx=self.cx - x, cy=self.cy - y, hood=hood)

    @property
    def ground_height(self) -> int:
        """Image rows, from the top, in which ground can be seen: those above the hood."""
        return rows_above_hood(self.height, self.hood)

    @property
    def matrix(self) -> Array:
        """The 3x3 camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Project points of the optical frame.

        Args:
            points: float [N, 3], metres, optical frame.

        Returns:
            Pixels float [N, 2] and bool [N]: in front of the camera and short of the radius at which the
            distortion folds back. Points that project outside the image are valid; the caller clips.
        """
        points = np.asarray(points, np.float64)
        z = points[:, 2]
        front = z > 1e-6
        safe_z = np.where(front, z, 1.0)
        plane = points[:, :2] / safe_z[:, None]
        radius = np.hypot(plane[:, 0], plane[:, 1])
        valid = np.asarray(front & (np.arctan(radius) < max_angle_rad(self)), np.bool_)
        if self.distortion_model == EQUIDISTANT:
            theta = np.arctan(radius)
            scale = equidistant(theta, self.distortion) / np.where(radius > 1e-9, radius, 1.0)
            distorted = plane * np.where(radius > 1e-9, scale, 1.0)[:, None]
        else:
            distorted = brown_conrady(np.where(valid[:, None], plane, 0.0), self.distortion)
        return distorted * (self.fx, self.fy) + (self.cx, self.cy), valid

    def rays(self, pixels: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return unit directions in the optical frame, float [N, 3], of pixels [N, 2], and where they are valid.

        A pixel beyond the fold of the distortion, or one whose inverse did not converge, is not valid.
        """
        pixels = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        if self.distortion_model == EQUIDISTANT:
            offset = (pixels[:, 0] - (self.cx, self.cy)) / (self.fx, self.fy)
            plane = equidistant_inverse(offset, self.distortion, max_angle_rad(self))
        else:
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-10)
            d = np.asarray(self.distortion or (0.0,) * 4)
            plane = cv2.undistortPointsIter(pixels, self.matrix, d, np.eye(3), np.eye(3), criteria)[:, 0]
        finite = np.asarray(np.isfinite(plane).all(axis=1), np.bool_)
        directions = np.column_stack([np.where(finite[:, None], plane, 0.0), np.ones(len(plane))])
        back, valid = self.project(directions)
        valid &= finite & (np.abs(back - pixels[:, 0]).max(axis=1) < 0.05)
        return directions / np.linalg.norm(directions, axis=1, keepdims=True), valid


def rows_above_hood(height: int, hood: float) -> int:
    """Return how many of `height` image rows lie wholly above the vehicle's own hood, which covers that share of them."""
    return math.floor(height * (1 - hood) + 1e-6)


@lru_cache(maxsize=64)
def max_angle_rad(camera: CameraModel) -> float:
    """Largest angle from the optical axis before the radial distortion stops growing (folds back)."""
    theta = np.linspace(0.0, math.radians(89.0), 4096, dtype=np.float64)
    if camera.distortion_model == EQUIDISTANT:
        radius = equidistant(theta, camera.distortion)
    else:
        d = (*camera.distortion, *(0.0,) * (8 - len(camera.distortion)))
        r = np.tan(theta)
        r2 = r * r
        denominator = 1 + r2 * (d[5] + r2 * (d[6] + r2 * d[7]))
        with np.errstate(divide='ignore', invalid='ignore'):
            radius = r * (1 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / denominator
        radius[~(denominator > 1e-6)] = -np.inf
    falling = np.flatnonzero(np.diff(radius) <= 0)
    return float(theta[falling[0]] if len(falling) else theta[-1])


STEADY_M, STEADY_RAD = 0.002, 0.0002
"""Tables serve every pose within this of the one they were built for: TF that trembles must not cost new tables."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Rigid transform `parent_from_child`: translation in metres, unit quaternion (x, y, z, w)."""

    translation_m: tuple[float, float, float]
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        values = (*self.translation_m, *self.quaternion)
        norm = math.sqrt(sum(q * q for q in self.quaternion))
        if not all(math.isfinite(v) for v in values) or abs(norm - 1.0) > 1e-3:
            raise CameraError(
                f'pose {values} is not a finite translation with a unit quaternion; check TF or extrinsics'
            )

    @classmethod
    def from_rotation(cls, rotation: Array, translation_m: Sequence[float]) -> Pose:
        """Build from a 3x3 rotation matrix."""
        x, y, z = (float(v) for v in translation_m)
        vector = cv2.Rodrigues(np.asarray(rotation, np.float64))[0][:, 0]
        angle = float(np.linalg.norm(vector))
        axis = vector / angle if angle > 1e-12 else vector
        qx, qy, qz = (float(v) for v in axis * math.sin(angle / 2))
        return cls((x, y, z), (qx, qy, qz, math.cos(angle / 2)))

    @classmethod
    def mounted(cls, x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Pose:
        """Pose of the optical frame of a camera whose body (x forward) sits at x, y, z metres, roll/pitch/yaw radians.

        Fixed-axis roll, pitch, yaw as in URDF and static_transform_publisher: positive pitch looks down.
        """
        cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (math.cos, math.sin))
        body = np.array(
            [
                [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                [-sp, cp * sr, cp * cr],
            ]
        )
        return cls.from_rotation(body @ OPTICAL_FROM_BODY.T, (x, y, z))

    def mounting(self) -> tuple[float, float, float, float, float, float]:
        """Return the x, y, z (metres), roll, pitch, yaw (radians) that `mounted` makes this pose of."""
        body = self.rotation @ OPTICAL_FROM_BODY
        pitch = math.asin(max(-1.0, min(1.0, -float(body[2, 0]))))
        roll, yaw = math.atan2(body[2, 1], body[2, 2]), math.atan2(body[1, 0], body[0, 0])
        return (*self.translation_m, roll, pitch, yaw)

    @property
    def rotation(self) -> Array:
        """The 3x3 rotation matrix."""
        x, y, z, w = self.quaternion
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    @property
    def yaw_rad(self) -> float:
        """Heading of the child's x axis in the parent."""
        x, y, z, w = self.quaternion
        return math.atan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z))

    def is_close(self, other: Pose) -> bool:
        """Tell whether two poses are within `STEADY_M` and `STEADY_RAD` of each other."""
        if self is other:
            return True
        # A small turn is twice the change of its quaternion, whose sign says nothing.
        turned = min(math.dist(self.quaternion, q) for q in (other.quaternion, [-v for v in other.quaternion]))
        return math.dist(self.translation_m, other.translation_m) <= STEADY_M and 2 * turned <= STEADY_RAD

    def transform(self, points: Array) -> Array:
        """Map points float [N, 3] from the child to the parent frame."""
        return np.asarray(points @ self.rotation.T + np.asarray(self.translation_m), np.float64)

    def inverse(self) -> Pose:
        """Return `child_from_parent`."""
        x, y, z = (float(v) for v in -self.rotation.T @ np.asarray(self.translation_m))
        qx, qy, qz, qw = self.quaternion
        return Pose((x, y, z), (-qx, -qy, -qz, qw))

    def __matmul__(self, other: Pose) -> Pose:
        return Pose.from_rotation(self.rotation @ other.rotation, self.transform(np.array([other.translation_m]))[0])
