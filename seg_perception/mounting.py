"""How a camera is really mounted, from lines along a straight road.

Markings and road edges that run along the road meet in one vanishing point: the direction in which the vehicle
drives. Its place in the picture gives pitch and yaw (Caprile and Torre 1990). Each line also has an angle around that
direction; three lines a lane apart give roll, and the lane's width gives the height.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import OPTICAL_FROM_BODY, CameraModel, Pose

MIN_LENGTH = 0.03  # of the picture's diagonal
MAX_OFF_AXIS_RAD = math.radians(15.0)
INLIER_RAD = math.radians(0.6)
TRIALS = 300
MIN_SUPPORT = 4
PEAK_STEP_RAD = math.radians(0.5)
PEAK_WIDTH = 3  # steps
PEAK_SHARE = 0.08  # of the strongest line
ROLL_SIGMA_RAD = math.radians(1.5)  # how far off a mounting usually is
SPACING_TOLERANCE = 0.3  # of lane width over configured height

Float = npt.NDArray[np.float64]


class Angles(NamedTuple):
    """Mounting as `Pose.mounted` takes it: positive pitch looks down, positive yaw to the left."""

    roll_rad: float
    pitch_rad: float
    yaw_rad: float


class MountingEstimate(NamedTuple):
    """What a straight drive says about a camera."""

    angles: Angles  # roll is NaN when fewer than three lane lines were found
    pitch_spread_rad: float  # standard deviation over frames; NaN for fewer than two
    yaw_spread_rad: float
    height_m: float  # NaN without a lane width or with fewer than two lines
    lines: tuple[float, ...]  # angles of the lane lines around the driving direction, radians, right is positive
    frames: int  # frames with a vanishing point


def road_segments(grey: npt.NDArray[np.uint8], camera: CameraModel) -> Float:
    """Find straight edges and return them as pairs of rays, float [N, 2, 3], optical frame, unit length."""
    found = cv2.createLineSegmentDetector().detect(cv2.GaussianBlur(grey, (3, 3), 0))[0]
    if found is None:
        return np.zeros((0, 2, 3))
    ends = found.reshape(-1, 2, 2).astype(np.float64)
    step = ends[:, 1] - ends[:, 0]
    long = np.hypot(step[:, 0], step[:, 1]) > MIN_LENGTH * math.hypot(camera.width, camera.height)
    sloped = np.abs(step[:, 1]) > 0.12 * np.abs(step[:, 0])
    rays, valid = camera.rays(ends[long & sloped].reshape(-1, 2))
    return np.asarray(rays.reshape(-1, 2, 3)[valid.reshape(-1, 2).all(axis=1)])


def vanishing_direction(segments: Float, expected: Float, rng: np.random.Generator) -> tuple[Float, Float] | None:
    """The direction near `expected` in which most segments meet, and those segments; None without support.

    Args:
        segments: float [N, 2, 3] as `road_segments` returns them.
        expected: unit vector, optical frame.
    """
    normals = np.cross(segments[:, 0], segments[:, 1])
    length = np.linalg.norm(normals, axis=1)  # sine of the angle a segment spans
    below = (segments[..., 1] - expected[1]).min(axis=1) > 0.01  # on the ground, not on houses or the sky
    steep = np.abs(segments @ expected).max(axis=1) < math.cos(0.02)
    use = below & steep & (length > 1e-6)
    normals, length, kept = normals[use] / length[use, None], length[use], segments[use]
    if len(kept) < MIN_SUPPORT:
        return None
    picks = rng.choice(len(kept), (TRIALS, 2), p=length / length.sum())
    candidates = np.cross(normals[picks[:, 0]], normals[picks[:, 1]])
    size = np.linalg.norm(candidates, axis=1)
    candidates = candidates[size > 1e-3] / size[size > 1e-3, None]
    candidates *= np.sign(candidates[:, 2:])
    candidates = candidates[candidates @ expected > math.cos(MAX_OFF_AXIS_RAD)]
    if not len(candidates):
        return None
    # A segment's plane misses the direction by this angle.
    miss = np.abs(candidates @ normals.T)
    votes = (np.clip(1 - miss / math.sin(INLIER_RAD), 0, 1) * length).sum(axis=1)
    best = candidates[votes.argmax()]
    for _ in range(5):
        inlier = np.abs(normals @ best) < math.sin(INLIER_RAD)
        if inlier.sum() < MIN_SUPPORT:
            return None
        weighted = normals[inlier] * length[inlier, None]
        best = np.linalg.svd(weighted, full_matrices=False)[2][-1]
        best *= np.sign(best[2])
    return best, kept[inlier]


def estimate_mounting(
    frames: Sequence[Float], configured: Pose, lane_width_m: float | None = None
) -> MountingEstimate | None:
    """Combine the segments of many frames; None when no frame shows a vanishing point.

    Args:
        frames: segments of each frame.
        configured: vehicle_from_camera as configured; the search stays within 15 degrees of it.
        lane_width_m: distance of neighbouring lane lines, for the height.
    """
    expected = configured.rotation.T @ np.array([1.0, 0.0, 0.0])
    rng = np.random.default_rng(0)
    found = [f for f in (vanishing_direction(s, expected, rng) for s in frames) if f is not None]
    if not found:
        return None
    directions = np.array([f[0] for f in found])
    # In the body frame x is forward and z up; a direction's elevation there is the camera's pitch down.
    body = directions @ OPTICAL_FROM_BODY
    pitch, yaw = np.arcsin(body[:, 2]), -np.arctan2(body[:, 1], body[:, 0])
    around = [_angles_around(direction, segments) for direction, segments in found]
    lines, strength = _peaks(np.concatenate([a for a, _ in around]), np.concatenate([w for _, w in around]))
    now = mounted_angles(configured)
    roll, height = _roll_and_height(lines, strength, now.roll_rad, configured.translation_m[2], lane_width_m)
    several = len(found) > 1
    return MountingEstimate(
        Angles(roll, float(np.median(pitch)), float(np.median(yaw))),
        float(pitch.std(ddof=1)) if several else math.nan,
        float(yaw.std(ddof=1)) if several else math.nan,
        height,
        tuple(float(a) for a in lines),
        len(found),
    )


def _angles_around(direction: Float, segments: Float) -> tuple[Float, Float]:
    """Angle of each segment around the driving direction (0 is straight below, right is positive) and its weight."""
    normals = np.cross(segments[:, 0], segments[:, 1])
    across = np.cross(direction, normals)
    across *= np.sign(across[:, 1:2])
    return np.arctan2(across[:, 0], across[:, 1]), np.linalg.norm(normals, axis=1)


def _peaks(angles: Float, weights: Float) -> tuple[Float, Float]:
    """Angles at which segments gather, from left to right, and their weights."""
    count = round(math.pi / PEAK_STEP_RAD)
    histogram, _ = np.histogram(angles, count, (-math.pi / 2, math.pi / 2), weights=weights)
    kernel = np.exp(-0.5 * (np.arange(-2 * PEAK_WIDTH, 2 * PEAK_WIDTH + 1) / PEAK_WIDTH) ** 2)
    smooth = np.convolve(histogram, kernel, 'same')
    top = np.flatnonzero((smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])) + 1
    top = top[smooth[top] > PEAK_SHARE * smooth.max()]
    lines, strength = [], []
    for centre in -math.pi / 2 + (top + 0.5) * PEAK_STEP_RAD:
        near = np.abs(angles - centre) < 2 * PEAK_WIDTH * PEAK_STEP_RAD
        order = np.argsort(angles[near])
        share = np.cumsum(weights[near][order])
        lines.append(angles[near][order][np.searchsorted(share, share[-1] / 2)])
        strength.append(share[-1])
    return np.array(lines), np.array(strength)


def _roll_and_height(
    lines: Float, strength: Float, roll_rad: float, height_m: float, lane_width_m: float | None
) -> tuple[float, float]:
    """Roll that makes three lines equally far apart, and the height that makes them a lane apart; NaN where unknown."""
    if lane_width_m is None:
        return math.nan, math.nan
    expected = lane_width_m / height_m
    rolls = roll_rad + np.linspace(-0.1, 0.1, 801)
    best = (0.0, math.nan, math.nan)
    for i, j in itertools.combinations(range(len(lines)), 2):
        spacing = math.tan(lines[j] - roll_rad) - math.tan(lines[i] - roll_rad)
        weight = 0.01 * min(strength[i], strength[j])
        if abs(spacing / expected - 1) < SPACING_TOLERANCE and weight > best[0]:
            best = (weight, math.nan, lane_width_m / spacing)
    for i, j, k in itertools.combinations(range(len(lines)), 3):
        left, middle, right = (np.tan(lines[n] - rolls) for n in (i, j, k))
        uneven = (right - middle) - (middle - left)
        zero = np.flatnonzero(np.diff(np.sign(uneven)) != 0)
        for at in zero:
            spacing = float(right[at] - left[at]) / 2
            likely = math.exp(-0.5 * ((rolls[at] - roll_rad) / ROLL_SIGMA_RAD) ** 2)
            weight = float(min(strength[i], strength[j], strength[k])) * likely
            if abs(spacing / expected - 1) < SPACING_TOLERANCE and weight > best[0]:
                best = (weight, float(rolls[at]), lane_width_m / spacing)
    return best[1], best[2]


def mounted_angles(pose: Pose) -> Angles:
    """Roll, pitch and yaw of a pose, as `Pose.mounted` takes them."""
    return Angles(*pose.mounting()[3:])
