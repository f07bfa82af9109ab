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

from seg_perception.grid.evidence import BLOCKS, GAP, HIDDEN, UNSURE_SOLID, Evidence
from seg_perception.grid.visibility import PolarView

EDGE = np.arange(1, 9)
"""Ranges, some five pixel rows, that the uncertain edge of an obstacle is followed towards the camera."""

INSIDE = np.arange(0, 9, 2)
"""Ranges behind the contact at which an obstacle is looked at: its very edge is the least certain part of it."""

Index = npt.NDArray[np.intp]


class Contacts(NamedTuple):
    """Where obstacles stand, one for each bearing that ends at one inside the picture."""

    xy_m: npt.NDArray[np.float64]  # [N, 2] half a cell behind the contact, vehicle frame
    evidence: Evidence  # [N]


class Visible(NamedTuple):
    """What one camera sees of the ground."""

    view: PolarView
    evidence: Evidence  # [B, R]
    contacts: Contacts


def walk(view: PolarView, image: Evidence, resolution_m: float) -> Visible:
    """Walk every bearing outwards.

    Args:
        image: int8 [last_row - first_row + 1, w] evidence of the image rows that the view reads.
        resolution_m: size of a cell.
    """
    source = image.view(np.uint8)
    polar: Evidence = np.asarray(
        cv2.remap(source, view.pixel_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0)
    ).view(np.int8)
    count = len(view.ranges_m)
    marks = polar.view(np.uint8) & BLOCKS  # nothing is larger than BLOCKS
    contact = marks.argmax(axis=1)
    blocked = np.flatnonzero(np.take(marks, contact + np.arange(0, marks.size, count)) == BLOCKS)
    start, found = _stand(polar, blocked, contact[blocked])
    weight = view.weight[blocked, start]
    found = ((found * weight.astype(np.int16) // 127) & -2 | HIDDEN).astype(np.int8)
    contact[:] = count
    contact[blocked] = start
    polar -= polar == UNSURE_SOLID
    polar = np.asarray(cv2.multiply(polar, view.weight, polar, 1 / 127))
    polar &= np.int8(-2)
    limit = _limit(view, contact)
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


def _stand(polar: Evidence, blocked: Index, start: Index) -> tuple[Index, Evidence]:
    """Move contacts to the near edge of the obstacle's uncertain rim; return them and the strongest evidence inside."""
    ranges = polar.shape[1]
    flat, at = polar.reshape(-1), (blocked * ranges + start)[:, None]
    inside = np.take(flat, at + INSIDE, mode='clip')  # a last range may see the next bearing's first, which is nothing
    inside[(inside & 1) == 0] = 0
    rim = np.take(flat, at - np.minimum(EDGE, start[:, None])) == UNSURE_SOLID
    return start - np.logical_and.accumulate(rim, axis=1).sum(axis=1), inside.min(axis=1)


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
    hidden = _after(count)[limit]
    polar |= hidden
    hidden &= np.int8(~HIDDEN)
    polar ^= hidden


def _fill(polar: Evidence, bearing: Index, begin: Index, end: Index, value: Evidence) -> None:
    """Write one value along each bearing from a range to before another."""
    length = end - begin
    first = bearing * polar.shape[1] + begin - np.cumsum(length) + length
    polar.reshape(-1)[np.arange(length.sum()) + np.repeat(first, length)] = np.repeat(value, length)


@lru_cache(maxsize=32)
def _after(count: int) -> Evidence:
    """int8 [count + 1, count]: row i has all bits set from column i on; a view of little memory."""
    steps = np.repeat(np.array([0, -1], np.int8), count)
    return np.lib.stride_tricks.sliding_window_view(steps, count)[::-1]


def _contacts(view: PolarView, bearing: Index, start: Index, found: Evidence, resolution_m: float) -> Contacts:
    distance = view.contact_m[start] + resolution_m / 2
    return Contacts(view.directions[bearing] * distance[:, None] + view.foot_m, found)
