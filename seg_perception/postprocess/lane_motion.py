"""Known lane lines moved with the vehicle and joined with new measurements of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import compiled, inlined
from seg_perception.postprocess.lane_solve import invert, multiply
from seg_perception.postprocess.lane_types import ORDER, lateral_m, mean_apart_m

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

SAME_LINE_M = 0.6
MUCH_M = 2.5
"""Lines this far apart in the middle are two, whatever their ends say."""
FORGET = 1.3
"""Growth of the variance from one frame to the next: older paint says less about the line ahead."""
STEP_SIGMA = (0.03, 0.003, 2e-4, 5e-6)
"""What odometry and the uneven road add to each coefficient in one frame."""


@compiled('int64[::1](float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64)')
def match(known: Float64, known_ends: Float64, new: Float64, new_ends: Float64, max_gap_m: float) -> Index:
    """Return the known line of each new one, -1 for none: closest pairs first; a junction between them keeps them apart.

    Args:
        known, new: coefficients [K, 4], [N, 4].
        known_ends, new_ends: [K, 2], [N, 2] where their paint starts and ends.
    """
    apart_m = np.full((len(new), len(known)), np.inf)
    for i in range(len(new)):
        for k in range(len(known)):
            low_m, high_m = max(new_ends[i, 0], known_ends[k, 0]), min(new_ends[i, 1], known_ends[k, 1])
            if low_m - high_m <= max_gap_m:
                middle_m = (low_m + high_m) / 2
                apart_m[i, k] = abs(lateral_m(new[i], middle_m) - lateral_m(known[k], middle_m))
                if low_m < high_m and apart_m[i, k] < MUCH_M:
                    apart_m[i, k] = mean_apart_m(new[i], known[k], low_m, high_m)
    partner = np.full(len(new), -1)
    while True:
        closest_m, line, other = SAME_LINE_M, -1, -1
        for i in range(len(new)):
            for k in range(len(known)):
                if apart_m[i, k] < closest_m:
                    closest_m, line, other = apart_m[i, k], i, k
        if line < 0:
            return partner
        partner[line] = other
        for i in range(len(new)):
            apart_m[i, other] = np.inf
        for k in range(len(known)):
            apart_m[line, k] = np.inf


@inlined
def _carry(line: Float64, covariance: Float64, ends: Float64, motion: Float64) -> None:
    """Express a line in the new vehicle frame: its shape through four points, its covariance through the shift along x.

    Args:
        motion: [2, 3] from the old frame to the new one.
    """
    x, terms = np.empty(ORDER + 1), np.empty(ORDER + 1)
    span_m = max(ends[1] - ends[0], 1.0)
    for i in range(ORDER + 1):
        old_x = ends[0] + span_m * i / ORDER
        old_y = lateral_m(line, old_x)
        x[i] = motion[0, 0] * old_x + motion[0, 1] * old_y + motion[0, 2]
        terms[i] = motion[1, 0] * old_x + motion[1, 1] * old_y + motion[1, 2]
    # Newton's divided differences, then from his basis to powers of x.
    for i in range(1, ORDER + 1):
        for j in range(ORDER, i - 1, -1):
            terms[j] = (terms[j] - terms[j - 1]) / (x[j] - x[j - i])
    for i in range(ORDER - 1, -1, -1):
        for j in range(i, ORDER):
            terms[j] -= x[i] * terms[j + 1]
    for i in range(ORDER + 1):
        line[i] = terms[i]
    ends[0], ends[1] = max(0.0, x[0]), max(0.0, x[ORDER])
    shift = np.zeros((ORDER + 1, ORDER + 1))  # turns the coefficients of y(x) into those of y(x - motion)
    for j in range(ORDER + 1):
        shift[0, j] = (-motion[0, 2]) ** j
        for i in range(1, j + 1):
            shift[i, j] = shift[i - 1, j - 1] - motion[0, 2] * shift[i, j - 1]
    before = covariance.copy()
    for i in range(ORDER + 1):
        for j in range(ORDER + 1):
            total = 0.0
            for m in range(ORDER + 1):
                for n in range(ORDER + 1):
                    total += shift[i, m] * before[m, n] * shift[j, n]
            covariance[i, j] = total * FORGET
        covariance[i, i] += STEP_SIGMA[i] ** 2


@inlined
def _fuse(line: Float64, covariance: Float64, measured: Float64, noise: Float64) -> None:
    """Join a line with an independent estimate of it by their information."""
    before, both, surprise = np.empty_like(covariance), np.empty_like(covariance), np.empty(ORDER + 1)
    for i in range(ORDER + 1):
        surprise[i] = measured[i] - line[i]
        for j in range(ORDER + 1):
            before[i, j], both[i, j] = covariance[i, j], covariance[i, j] + noise[i, j]
    invert(both)
    gain = np.empty(ORDER + 1)
    for i in range(ORDER + 1):
        multiply(both, before[i], gain)  # one row of the gain: covariances are symmetric
        for j in range(ORDER + 1):
            line[i] += gain[j] * surprise[j]
            for k in range(ORDER + 1):
                covariance[i, k] -= gain[j] * before[j, k]


@compiled(
    'int64[::1](float64[:, ::1], float64[:, :, ::1], float64[:, ::1], float64[:, ::1], float64[:, :, ::1], '
    'float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1], float64)'
)
def followed(
    known: Float64,
    covariances: Float64,
    ends: Float64,
    new: Float64,
    noises: Float64,
    new_ends: Float64,
    old_rotation: Float64,
    rotation: Float64,
    moved_m: Float64,
    max_gap_m: float,
) -> Index:
    """Carry known lines into the new vehicle frame and join them with their new measurements, in place.

    Args:
        old_rotation, rotation: [3, 3] of the vehicle.
        moved_m: [3] from the new position to the old one.

    Returns:
        the known line of each new one, -1 for none.
    """
    motion = np.zeros((2, 3))
    for i in range(2):
        for k in range(3):
            motion[i, 0] += rotation[k, i] * old_rotation[k, 0]
            motion[i, 1] += rotation[k, i] * old_rotation[k, 1]
            motion[i, 2] += rotation[k, i] * moved_m[k]
    for k in range(len(known)):
        _carry(known[k], covariances[k], ends[k], motion)
    partner = match(known, ends, new, new_ends, max_gap_m)
    for i in range(len(new)):
        if partner[i] >= 0:
            _fuse(known[partner[i]], covariances[partner[i]], new[i], noises[i])
    return partner
