"""Rays from the camera decide what is seen: the walk along the ground.

Walking outwards along a bearing, the first confident solid is the obstacle; everything behind its contact with the
ground is hidden.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import compiled
from seg_perception.errors import CameraError
from seg_perception.grid.evidence import GAP, HIDDEN, STEPS, SURE, UNSURE_SOLID, Evidence
from seg_perception.grid.visibility import Index, PolarView

EDGE = 8
"""Ranges, some five pixel rows, that the uncertain edge of an obstacle is followed towards the camera."""

INSIDE = 8
"""Ranges behind its contact up to which an obstacle is looked at, every second one: its very edge is the least certain part."""

SOLID_GAIN = 2.5
"""Evidence of an obstacle in that of one pixel: many show it, and a place in motion has one image only to be marked."""


class Visible(NamedTuple):
    """What one camera sees of the ground."""

    view: PolarView
    evidence: Evidence  # [B, R]
    contact: Index  # [B] range index at which an obstacle stands inside the picture; R where none does
    found: Evidence  # [B] evidence of that obstacle


def walk(view: PolarView, image: Evidence) -> Visible:
    """Walk every bearing outwards.

    Args:
        image: int8 [n] evidence of the pixels that the view reads, and a zero after them: `PixelEvidence` of its rows.

    Raises:
        CameraError: the image has another size than the camera that the view is of.
    """
    if len(image) != view.pixel_count + 1:
        raise CameraError(
            f'{len(image) - 1} labels in the rows with ground; expected {view.pixel_count} as in camera_info'
        )
    evidence, contact, proved, strongest = _first_solids(image, view.pixels)
    limit = _limits(contact, proved, view.guard)
    found = _fill(evidence, contact, limit, strongest, view.weight, view.nearest, view.band_end, view.cut_off)
    return Visible(view, evidence, contact, found)


@compiled('Tuple((int8[:, ::1], int32[::1], int32[::1], int8[::1]))(int8[::1], int32[:, ::1])')
def _first_solids(image: Evidence, pixels: Index) -> tuple[Evidence, Index, Index, Evidence]:
    """Find the near edge of the first confident solid along each bearing.

    Returns:
        evidence, int8 [B, R], defined before the solid only; [B] where the solid stands, R for none; up to where the ground
        before it is surely free; and the strongest evidence inside it.
    """
    bearings, ranges = pixels.shape
    evidence = np.empty((bearings, ranges), np.int8)
    contact = np.full(bearings, ranges, np.int32)
    proved = np.full(bearings, ranges, np.int32)
    strongest = np.zeros(bearings, np.int8)
    for b in range(bearings):
        solid = ranges
        for r in range(ranges):
            e = image[pixels[b, r]]
            evidence[b, r] = e
            if e < 0 and e & 1:
                solid = r
                break
        if solid == ranges:
            continue
        nearest = max(solid - EDGE, 0)
        doubtful = solid
        while doubtful > nearest and 0 <= evidence[b, doubtful - 1] < SURE:
            doubtful -= 1
        rim = solid
        while rim > nearest and evidence[b, rim - 1] == UNSURE_SOLID:
            rim -= 1
        for r in range(solid, min(solid + INSIDE + 1, ranges), 2):
            e = image[pixels[b, r]]
            if e & 1:
                strongest[b] = min(strongest[b], e)
        contact[b], proved[b] = rim, doubtful
    return evidence, contact, proved, strongest


@compiled('int32[::1](int32[::1], int32[::1], int32[:, ::1])')
def _limits(contact: Index, proved: Index, guard: Index) -> Index:
    """Return the range index from which nothing along each bearing is proved free.

    A free pixel was judged at its centre: up to the contact, or to the side of an obstacle, half a pixel later, nothing is.
    """
    bearings, ranges = guard.shape
    limit = np.empty(bearings, np.int32)
    for b in range(bearings):
        near = contact[b]
        if b > 0:
            near = min(near, contact[b - 1])
        if b < bearings - 1:
            near = min(near, contact[b + 1])
        if near < ranges:
            near = max(near - guard[b, near], 0)
        limit[b] = min(near, proved[b])
    return limit


@compiled(
    'int8[::1](int8[:, ::1], int32[::1], int32[::1], int8[::1], float32[::1], int32[::1], int32[::1], int32[::1])'
)
def _fill(
    evidence: Evidence,
    contact: Index,
    limit: Index,
    strongest: Evidence,
    weight: npt.NDArray[np.float32],
    nearest: Index,
    band_end: Index,
    cut_off: Index,
) -> Evidence:
    """Write the evidence of whole bearings: what is seen, the gap before a contact, the obstacle, and what it hides.

    Returns:
        [B] the evidence of obstacles. `contact` becomes R for those that are cut off at the image's border.
    """
    bearings, ranges = evidence.shape
    found = np.zeros(bearings, np.int8)
    for b in range(bearings):
        line, start = evidence[b], contact[b]
        for r in range(limit[b]):
            line[r] = np.int32(np.rint(line[r] * weight[r])) & -2
        for r in range(limit[b], start):
            line[r] = GAP
        for r in range(max(limit[b], start), ranges):
            line[r] = HIDDEN
        if start == ranges:
            continue
        odds = max(math.floor(strongest[b] * weight[start] * SOLID_GAIN), -STEPS)
        found[b] = odds & -2 | HIDDEN
        end = band_end[start]
        if start == nearest[b]:
            # At the image's border a contact lies nearer than anything seen: the obstacle ends where the view begins.
            start, end, contact[b] = cut_off[start], start + 1, ranges
        line[start:end] = found[b]
    return found
