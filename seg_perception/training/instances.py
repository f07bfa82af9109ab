"""Copy-paste of vehicles and persons between frames (Ghiasi et al. 2021), each stood on the ground at a fitting size."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.labels import LabelMap, Role
from seg_perception.training.datasets import Sample

MIN_AREA_SHARE = 0.001
"""Smallest share of its frame that makes a thing worth copying."""
MIN_DROP_SHARE = 0.04
"""A thing stands at least this share of the image's height below the horizon; nearer to it the scale is uncertain."""
SCALES = (0.35, 2.5)
TRIES = 8

UInt8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Instance(NamedTuple):
    """One thing, cut out."""

    image: UInt8
    """[h, w, 3] RGB of its bounding box."""
    mask: UInt8
    """[h, w] 255 on the thing, else 0."""
    target: int
    drop: float
    """How far its lowest point is below its frame's horizon, as a share of the frame's height."""
    frame_height_px: int


def horizon_row(target: UInt8, ground: Bools) -> int | None:
    """Return the highest row of target ids [H, W] with ground on a fiftieth of it, a guess at the horizon; None without."""
    rows = np.nonzero(ground[target].mean(1) > 0.02)[0]
    return int(rows[0]) if len(rows) else None


def find_instances(samples: list[Sample], labels: LabelMap, ground: Bools) -> list[list[Instance]]:
    """Cut out what is whole and stands on ground, one list per class of the data sets that is an obstacle.

    Whole: a connected component of one class that does not touch the image's border. Standing: under its lowest part
    there is ground in most columns.

    Args:
        ground: bool [256], True for target ids that are ground.
    """
    obstacle = labels.mask_lut(Role.OBSTACLE) > 0
    found: dict[int, list[Instance]] = {}
    for sample in samples:
        horizon = horizon_row(sample.target, ground)
        if horizon is None or sample.source is None:
            continue
        for source in np.unique(sample.source[obstacle[sample.target]]):
            mask = ((sample.source == source) & obstacle[sample.target]).astype(np.uint8)
            found.setdefault(int(source), []).extend(_cut(sample, mask, horizon, ground))
    return [instances for instances in found.values() if instances]


def _cut(sample: Sample, mask: UInt8, horizon: int, ground: Bools) -> list[Instance]:
    height, width = mask.shape
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask)
    cut = []
    for index, (x, y, w, h, area) in enumerate(stats[1:].tolist(), 1):
        drop = (y + h - horizon) / height
        inside = x > 0 and y > 0 and x + w < width and y + h < height - 4
        if not inside or area < MIN_AREA_SHARE * mask.size or drop < MIN_DROP_SHARE:
            continue
        box = (slice(y, y + h), slice(x, x + w))
        own = components[box] == index
        columns = own[-max(1, h // 10) :].any(0)
        if ground[sample.target[y + h + 3, x : x + w][columns]].mean() < 0.5:
            continue
        target = int(sample.target[box][own][0])
        cut.append(Instance(sample.image[box].copy(), own.astype(np.uint8) * 255, target, drop, height))
    return cut


def paste_instances(
    sample: Sample, groups: list[list[Instance]], ground: Bools, rng: np.random.Generator
) -> tuple[Sample, tuple[float, float] | None]:
    """Stand one to three things on the ground; also return the middle (x, y) of the last, None if none found a place.

    The size follows from the ground: of things equally large, one twice as far below the horizon is twice as high.
    """
    target = sample.target
    horizon = horizon_row(target, ground)
    rows, columns = np.nonzero(ground[target[::4, ::4]])
    if horizon is None:
        return sample, None
    image, target = sample.image.copy(), target.copy()
    weights = np.sqrt([len(group) for group in groups])
    center = None
    for _ in range(int(rng.integers(1, 4))):
        group = groups[int(rng.choice(len(groups), p=weights / weights.sum()))]
        instance = group[int(rng.integers(len(group)))]
        for pick in rng.integers(len(rows), size=TRIES):
            x, y = int(columns[pick]) * 4, int(rows[pick]) * 4
            drop = (y - horizon) / len(target)
            scale = drop / instance.drop * len(target) / instance.frame_height_px * np.exp(rng.uniform(-0.2, 0.2))
            if drop >= MIN_DROP_SHARE and SCALES[0] <= scale <= SCALES[1]:
                center = _stand(image, target, instance, (x, y), float(scale), rng)
                break
    return Sample(image, target), center


def _stand(
    image: UInt8, target: UInt8, instance: Instance, foot: tuple[int, int], scale: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Draw an instance into `image` and `target` with the middle of its lower edge at `foot` (x, y); return its middle."""
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    size = (max(1, round(instance.mask.shape[1] * scale)), max(1, round(instance.mask.shape[0] * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    patch = cv2.resize(instance.image[:, flip], size, interpolation=shrink)
    mask = cv2.resize(instance.mask[:, flip], size, interpolation=cv2.INTER_LINEAR)
    x0, y0 = foot[0] - size[0] // 2, foot[1] - size[1]
    left, top = max(0, -x0), max(0, -y0)
    right, bottom = min(size[0], image.shape[1] - x0), min(size[1], image.shape[0] - y0)
    cut = (slice(top, bottom), slice(left, right))
    box = (slice(y0 + top, y0 + bottom), slice(x0 + left, x0 + right))
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32)[..., None][cut] / 255
    light = np.clip(patch[cut] * np.float32(rng.uniform(0.7, 1.25)), 0, 255)
    image[box] = (image[box] + (light - image[box]) * alpha).astype(np.uint8)
    target[box][mask[cut] > 127] = instance.target
    return x0 + size[0] / 2, y0 + size[1] / 2
