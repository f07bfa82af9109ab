"""Objects that no training image has, rendered onto the road: does the confidence fall there?

Shaded boxes, balls and animals with a shadow under them, none of which the training's flat random patches resemble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import DataError
from seg_perception.evaluation.truth import LabelledImage, TruthTable, read_truth
from seg_perception.frames import from_array, labels_to_size
from seg_perception.labels import VOID, Role
from seg_perception.metrics import roc_area
from seg_perception.pipeline import Frame, Pipeline

UInt8 = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
HORIZON = 0.42
"""Row, as a share of the height, above which nothing stands on the road."""
OBJECTS = 3


class ForeignCounts(NamedTuple):
    """Pixels of one image by doubt (255 - confidence)."""

    foreign: npt.NDArray[np.int64]
    """[256] on the pasted objects."""
    road: npt.NDArray[np.int64]
    """[256] on the rest of the true road and lane."""
    called_drivable: npt.NDArray[np.int64]
    """[256] on the objects where the label is road or lane."""


def paste_object(image: UInt8, foot: tuple[int, int], rng: np.random.Generator) -> tuple[UInt8, BoolArray]:
    """Stand one object on an image and return the new image and the object's mask, bool [H, W].

    Args:
        image: uint8 [H, W, 3] BGR; not changed.
        foot: (x, y) where it stands; the lower in the image, the nearer and larger.
    """
    h, w = image.shape[:2]
    size = max(8.0, (foot[1] - HORIZON * h) * rng.uniform(0.25, 0.6))
    mask, shade = np.zeros((h, w), np.uint8), np.zeros((h, w), np.float32)
    (_box, _ball, _animal)[int(rng.integers(3))](mask, shade, foot, size, rng)
    color = rng.uniform(20, 235, 3)
    grain = rng.standard_normal((h, w, 1)).astype(np.float32) * rng.uniform(2, 12)
    surface = np.clip(color * (0.55 + 0.45 * shade[..., None]) + grain, 0, 255)
    shadow = np.zeros((h, w), np.float32)
    cv2.ellipse(shadow, foot, (max(1, int(size * 0.7)), max(1, int(size * 0.16))), 0, 0, 360, 1.0, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(1.0, size * 0.06))
    under = image * (1 - 0.5 * shadow[..., None])
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    return (under * (1 - alpha) + surface * alpha).astype(np.uint8), mask > 127


def _box(mask: UInt8, shade: Any, foot: tuple[int, int], size: float, rng: np.random.Generator) -> None:
    x, y = foot
    half, tall, side = int(size * rng.uniform(0.3, 0.6)), int(size * rng.uniform(0.5, 1.1)), int(size * 0.25)
    faces = (
        ([(x - half, y), (x + half, y), (x + half, y - tall), (x - half, y - tall)], 0.6),
        ([(x + half, y), (x + half + side, y - side), (x + half + side, y - tall - side), (x + half, y - tall)], 0.1),
        (
            [
                (x - half, y - tall),
                (x + half, y - tall),
                (x + half + side, y - tall - side),
                (x - half + side, y - tall - side),
            ],
            1.0,
        ),
    )
    for corners, light in faces:
        polygon = [np.array(corners, np.int32)]
        cv2.fillPoly(mask, polygon, 255)
        cv2.fillPoly(shade, polygon, light)


def _ball(mask: UInt8, shade: Any, foot: tuple[int, int], size: float, _: np.random.Generator) -> None:
    radius = max(4, int(size * 0.45))
    center = (foot[0], foot[1] - radius)
    cv2.circle(mask, center, radius, 255, -1)
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]]
    lit = np.hypot(xs - center[0] + radius * 0.4, ys - center[1] + radius * 0.4) / radius
    shade[:] = np.clip(1.2 - lit, 0, 1)


def _animal(mask: UInt8, shade: Any, foot: tuple[int, int], size: float, rng: np.random.Generator) -> None:
    x, y = foot
    s = size / 2
    body = (x, int(y - 0.9 * s))
    for leg in (-0.7, -0.45, 0.45, 0.7):
        top = (int(x + leg * s), int(y - 0.8 * s))
        cv2.line(mask, top, (int(x + leg * s * 1.05), y), 255, max(2, int(0.16 * s)))
    cv2.ellipse(mask, body, (max(1, int(0.95 * s)), max(1, int(0.42 * s))), 0, 0, 360, 255, -1)
    facing = int(rng.choice([-1, 1]))
    cv2.circle(mask, (int(x + facing * 1.05 * s), int(y - 1.4 * s)), max(2, int(0.3 * s)), 255, -1)
    rows = np.arange(mask.shape[0], dtype=np.float32)[:, None]
    shade[:] = np.clip((y - rows) / (1.6 * s), 0, 1)


def count_foreign(pipeline: Pipeline, items: Sequence[LabelledImage], table: TruthTable) -> Iterator[ForeignCounts]:
    """Yield the counts of each image after standing OBJECTS things on its true road; the same ones every time.

    Raises:
        DataError: an image cannot be used, or the truth does not tell where the road is.
    """
    drivable = table.rows(Role.ROAD, Role.LANE)
    if drivable is None:
        raise DataError(f'{table.path}: no classes that are only road or lane; foreign objects have nowhere to stand')
    called = pipeline.engine.spec.labels.drivable_lut()
    for index, item in enumerate(items):
        rng = np.random.default_rng([0, index])
        image = np.asarray(cv2.imread(str(item.image), cv2.IMREAD_COLOR), np.uint8)
        h, w = image.shape[:2]
        truth = read_truth(item, table, h, w)
        road = drivable[np.where(truth == VOID, 0, truth)] & (truth != VOID)
        rows, columns = np.nonzero(road & (np.arange(h)[:, None] > (HORIZON + 0.1) * h))
        foreign = np.zeros((h, w), np.bool_)
        for pick in rng.integers(len(rows), size=OBJECTS) if len(rows) else ():
            image, mask = paste_object(image, (int(columns[pick]), int(rows[pick])), rng)
            foreign |= mask
        result = pipeline.run([Frame('image', 1, from_array(image))], want_grid=False).cameras[0]
        doubt = 255 - labels_to_size(result.confidence, w, h)
        labels = labels_to_size(result.labels, w, h)
        yield ForeignCounts(
            np.bincount(doubt[foreign & road], minlength=256),
            np.bincount(doubt[road & ~foreign], minlength=256),
            np.bincount(doubt[foreign & road & called[labels]], minlength=256),
        )


def summarise_foreign(counts: Sequence[ForeignCounts]) -> dict[str, float | None]:
    """Return the area under the ROC curve of doubt and how often an object is called drivable, surely (>= 0.9) or at all."""
    foreign, road, called = (np.sum(column, axis=0) for column in zip(*counts, strict=True))
    total = max(1, int(foreign.sum()))
    area = roc_area(foreign, road)
    return {
        'auroc': None if np.isnan(area) else round(area, 5),
        'called_drivable': round(float(called.sum() / total), 5),
        'called_drivable_surely': round(float(called[:26].sum() / total), 5),
        'pixels': int(foreign.sum()),
    }
