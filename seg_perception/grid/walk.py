"""Rays from the camera decide what is seen: the walk along the ground.

Walking outwards along a bearing, the first confident solid is the obstacle; everything behind its contact with the
ground is hidden.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.evidence import BLOCKS, GAP, HIDDEN, STEPS, SURE, UNSURE_SOLID, Evidence
from seg_perception.grid.visibility import PolarView

EDGE = 8
"""Ranges, some five pixel rows, that the uncertain edge of an obstacle is followed towards the camera."""

AROUND = np.array([*range(-1, -EDGE - 1, -1), *range(0, 9, 2)])[:, None]
"""Ranges at which an obstacle is looked at: before its contact, and inside, as its very edge is the least certain part."""

SOLID_GAIN = 2.5
"""Evidence of an obstacle in that of one pixel: many show it, and a place in motion has one image only to be marked."""

INTO = np.array([0.0, 0.5, 0.75])
"""Shares of an obstacle's depth at which cells are asked whether they have it."""

Index = npt.NDArray[np.intp]


class Contacts(NamedTuple):
    """Where obstacles stand, one for each bearing that ends at one inside the picture."""

    bearing: Index  # [N] index among those of the view
    range_m: npt.NDArray[np.float64]  # [3, N] half a cell behind the contact, and deeper
    evidence: Evidence  # [N]


class Visible(NamedTuple):
    """What one camera sees of the ground."""

    view: PolarView
    evidence: Evidence  # [B, R]
    contacts: Contacts


def walk(view: PolarView, image: Evidence, resolution_m: float) -> Visible:
    """Walk every bearing outwards.

    Args:
        image: int8 [last_row - first_row + 2, w] evidence of the image rows that the view reads, and a row of zeros.
        resolution_m: size of a cell.
    """
    polar: Evidence = np.take(image.reshape(-1), view.pixels, mode='wrap')  # unlike 'raise' it needs no second buffer
    count = len(view.ranges_m)
    solid = polar.view(np.uint8) & BLOCKS == BLOCKS
    contact = solid.argmax(axis=1)
    blocked = np.flatnonzero(np.take(solid, contact + np.arange(0, solid.size, count)))
    start, found, doubtful = _stand(polar, blocked, contact[blocked])
    proved = np.maximum(contact[blocked] - doubtful, 0)
    weight = view.weight[blocked, start]
    found = (np.maximum(found * (weight * SOLID_GAIN) // 127, -STEPS).astype(np.int8) & np.int8(-2)) | np.int8(HIDDEN)
    contact[:] = count
    contact[blocked] = start
    polar = np.asarray(cv2.multiply(polar, view.weight, polar, 1 / 127))
    limit = _limit(view, contact)
    limit[blocked] = np.minimum(limit[blocked], proved)
    _hide(polar, limit, count)
    before = np.flatnonzero(limit < contact)
    _fill(polar, before, limit[before], contact[before], np.full(len(before), GAP, np.int8))
    # A contact at the image's border lies nearer than anything seen: the obstacle ends where the view begins.
    cut_off = start == view.nearest[blocked]
    end = np.where(cut_off, start + 1, view.band_end[start])
    begin = np.where(cut_off, view.cut_off[start], start)
    _fill(polar, blocked, begin, end, found)
    inside = ~cut_off
    return Visible(view, polar, _contacts(view, blocked[inside], start[inside], found[inside], resolution_m))


def _stand(polar: Evidence, blocked: Index, start: Index) -> tuple[Index, Evidence, Index]:
    """Move contacts to the near edge of the obstacle's uncertain rim.

    Returns:
        the contacts, the strongest evidence inside, and how many ranges of doubtful ground lie before the contact given.
    """
    # A first or last range may see the end of another bearing, which is nothing.
    around = np.take(polar.reshape(-1), AROUND + (blocked * polar.shape[1] + start), mode='clip')
    rim, inside = around[:EDGE] == UNSURE_SOLID, around[EDGE:]
    inside *= inside & np.int8(1)
    doubtful = around[:EDGE].view(np.uint8) < SURE  # negative numbers are the largest ones
    return start - _leading(rim), inside.min(axis=0), _leading(doubtful)


def _leading(marks: npt.NDArray[np.bool_]) -> Index:
    """How many marks each column begins with."""
    return np.asarray(np.logical_and.accumulate(marks).sum(axis=0))


def _limit(view: PolarView, contact: Index) -> Index:
    """Index from which nothing along each bearing is proved free.

    A free pixel was judged at its centre: up to the contact, or to the side of an obstacle, half a pixel later,
    nothing is.
    """
    count = len(view.ranges_m)
    near = contact.copy()
    np.minimum(near[1:], contact[:-1], out=near[1:])
    np.minimum(near[:-1], contact[1:], out=near[:-1])
    ends = np.flatnonzero(near < count)
    near[ends] = np.maximum(near[ends] - view.guard[ends, near[ends]], 0)
    return near


def _hide(polar: Evidence, limit: Index, count: int) -> None:
    """Leave plain evidence before the limit and HIDDEN behind it."""
    seen = _before(count)[limit]
    polar &= seen
    polar |= (seen == 0).view(np.int8)


def _fill(polar: Evidence, bearing: Index, begin: Index, end: Index, value: Evidence) -> None:
    """Write one value along each bearing from a range to before another."""
    length = end - begin
    first = bearing * polar.shape[1] + begin - np.cumsum(length) + length
    polar.reshape(-1)[np.arange(length.sum()) + np.repeat(first, length)] = np.repeat(value, length)


@lru_cache(maxsize=32)
def _before(count: int) -> Evidence:
    """int8 [count + 1, count]: row i has the bits of evidence set before column i; a view of little memory."""
    steps = np.repeat(np.array([-2, 0], np.int8), count)
    return np.lib.stride_tricks.sliding_window_view(steps, count)[::-1]


def _contacts(view: PolarView, bearing: Index, start: Index, found: Evidence, resolution_m: float) -> Contacts:
    deep = np.maximum(INTO * view.depth_m, resolution_m / 2)
    return Contacts(bearing, view.contact_m[start] + deep[:, None], found)
