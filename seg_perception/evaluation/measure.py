"""Running a model over labelled images and counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import DataError
from seg_perception.evaluation.truth import LabelledImage, Rightness, TruthTable, by_role, read_truth
from seg_perception.frames import from_array, labels_to_size
from seg_perception.labels import VOID, LabelMap, Role
from seg_perception.metrics import (
    BoundaryCounts,
    Reliability,
    binary_iou,
    boundary_counts,
    confusion_matrix,
    reliability,
)
from seg_perception.pipeline import Frame, Pipeline

UInt8 = npt.NDArray[np.uint8]
GROUPS = {'road': (Role.ROAD,), 'lane': (Role.LANE,), 'obstacle': (Role.OBSTACLE,), 'drivable': (Role.ROAD, Role.LANE)}


class FrameScore(NamedTuple):
    """Counts of one image."""

    name: str
    confusion: npt.NDArray[np.int64]
    """[truth rows, model classes] pixels."""
    boundary: dict[str, BoundaryCounts]
    """Per role group that the truth tells apart."""
    reliability: Reliability
    role_accuracy: float
    """Share 0..1 of the labelled pixels whose role is right."""
    engine_ms: float


class Evaluation(NamedTuple):
    """All counts of a data set."""

    frames: tuple[FrameScore, ...]
    table: TruthTable
    labels: LabelMap
    right: Rightness

    def confusion(self) -> npt.NDArray[np.int64]:
        """Return [truth rows, model classes] pixels of all frames."""
        return np.asarray(np.sum([f.confusion for f in self.frames], axis=0), np.int64)

    def reliability(self) -> Reliability:
        """Return the confidence counts of all frames."""
        total = self.frames[0].reliability
        for frame in self.frames[1:]:
            total = total.plus(frame.reliability)
        return total


def evaluate(
    pipeline: Pipeline, items: Sequence[LabelledImage], table: TruthTable, right: Rightness
) -> Iterator[FrameScore]:
    """Yield the counts of each image, labels brought to the truth's size.

    Raises:
        DataError: an image or label cannot be used.
        EngineError: the engine failed.
    """
    labels = pipeline.engine.spec.labels
    for item in items:
        image = cv2.imread(str(item.image), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f'{item.image}: cannot be decoded; replace it or leave it out with --match')
        height, width = image.shape[:2]
        truth = read_truth(item, table, height, width)
        result = pipeline.run([Frame('image', 1, from_array(np.asarray(image, np.uint8)))], want_grid=False)
        predicted = labels_to_size(result.cameras[0].labels, width, height)
        confidence = labels_to_size(result.cameras[0].confidence, width, height)
        valid = truth != VOID
        is_right = right.table[np.where(valid, truth, 0), predicted]
        yield FrameScore(
            item.name,
            confusion_matrix(truth, predicted, len(table.classes), len(labels)),
            _boundaries(truth, predicted, table, labels),
            reliability(confidence, is_right, valid),
            _role_accuracy(truth, predicted, table, labels),
            result.engine_ms,
        )


def _boundaries(truth: UInt8, predicted: UInt8, table: TruthTable, labels: LabelMap) -> dict[str, BoundaryCounts]:
    valid = truth != VOID
    counts = {}
    for name, roles in GROUPS.items():
        rows = table.rows(*roles)
        if rows is not None:
            inside = rows[np.where(valid, truth, 0)] & valid
            outline = (labels.mask_lut(*roles)[predicted] > 0) & valid
            counts[name] = boundary_counts(inside, outline, valid)
    return counts


def _role_accuracy(truth: UInt8, predicted: UInt8, table: TruthTable, labels: LabelMap) -> float:
    right = by_role(table, labels)
    valid = truth != VOID
    return float(right[truth[valid], predicted[valid]].mean()) if valid.any() else float('nan')


def summary(result: Evaluation) -> dict[str, Any]:
    """Return all figures as JSON values; a role that the truth does not tell apart is null."""
    confusion, labels, table = result.confusion(), result.labels, result.table
    boundary: dict[str, float | None] = {}
    iou: dict[str, float | None] = {}
    for name, roles in GROUPS.items():
        rows, columns = table.rows(*roles), labels.mask_lut(*roles)[: len(labels)] > 0
        iou[name] = None if rows is None else number(binary_iou(confusion, rows, columns))
        counts = [f.boundary[name] for f in result.frames if name in f.boundary]
        boundary[name] = number(_total(counts).f_score()) if counts else None
    return {
        'frames': len(result.frames),
        'pixels': int(confusion.sum()),
        'iou': iou,
        'iou_class': _class_ious(result, confusion),
        'boundary_f': boundary,
        'pixel_accuracy': number(_share(confusion, result.right.table)),
        'role_accuracy': number(_share(confusion, by_role(table, labels))),
        'ece': number(result.reliability().error()),
        'compared_by': result.right.by,
        'engine_ms_median': float(np.median([f.engine_ms for f in result.frames])),
        'confusion': {
            'rows_truth': [c.name for c in table.classes],
            'columns_predicted': [c.name for c in labels.classes],
            'pixels': confusion.tolist(),
        },
        'worst_frames': [
            {'name': f.name, 'role_accuracy': number(f.role_accuracy)} for f in worst_first(result.frames)[:10]
        ],
    }


def worst_first(frames: Sequence[FrameScore]) -> list[FrameScore]:
    """Return the frames in order of their share of right roles, those without any truth last."""
    return sorted(frames, key=lambda f: (np.isnan(f.role_accuracy), f.role_accuracy))


def _class_ious(result: Evaluation, confusion: npt.NDArray[np.int64]) -> dict[str, float | None] | None:
    if result.right.by != 'class':
        return None
    right = result.right.table
    columns = np.arange(len(result.labels))
    ious: dict[str, float | None] = {}
    for c in result.labels.classes:
        open_rows = right[:, c.id] & (right.sum(1) > 1)
        ious[c.name] = None if open_rows.any() else number(binary_iou(confusion, right[:, c.id], columns == c.id))
    return ious


def _share(confusion: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> float:
    return float((confusion * right).sum() / max(1, confusion.sum()))


def _total(counts: Sequence[BoundaryCounts]) -> BoundaryCounts:
    total = counts[0]
    for other in counts[1:]:
        total = total.plus(other)
    return total


def number(value: float) -> float | None:
    """Return a float for JSON, which has no NaN."""
    return None if np.isnan(value) else round(value, 5)
