"""How two processed runs of the same recording differ: labels, grids, speed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.errors import RecordingError
from seg_perception.frames import labels_to_size
from seg_perception.io import messages
from seg_perception.io.bag_frames import decode_image
from seg_perception.io.bag_source import BagSource
from seg_perception.io.recording import TimedMessage
from seg_perception.offline.output_messages import GRID_TOPIC, NODE
from seg_perception.offline.run_folder import BAG, read_run
from seg_perception.offline.thresholds import Check, Thresholds

MIN_SHARE = 0.001
"""A class below this share of A's pixels does not decide the worst IoU."""

Counts = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Key = tuple[str, int]
"""Camera and stamp."""


class Comparison(NamedTuple):
    """Plain figures; shares are between 0 and 1."""

    frames: int
    """Frames that both runs have."""
    only_a: int
    only_b: int
    label_disagreement: float
    worst_frame_disagreement: float
    classes: list[dict[str, Any]]
    """name, share_a, share_b, iou, only_a, only_b; the last two as shares of all pixels."""
    class_iou_loss: float
    grids: int
    """Grids that both runs have."""
    grid_disagreement: float | None
    """None without grids."""
    grid_disagreement_cells: float | None
    """Mean number of cells."""
    grid_disagreement_m2: float | None
    """Mean area."""
    free_ahead_m: float | None
    slowdown: float | None
    missing_frames: float
    over_time: dict[str, list[Any]]
    """camera, seconds, label_disagreement, grid_disagreement, free_ahead_a_m, free_ahead_b_m; one value per frame."""
    problems: list[str]

    def check(self, thresholds: Thresholds) -> list[Check]:
        """Return every threshold that is set, with what was found."""
        checks = []
        for f in fields(thresholds):
            limit = getattr(thresholds, f.name)
            if limit is not None:
                found = getattr(self, f.name)
                checks.append(Check(f.name, found, limit, found is not None and found <= limit))
        return checks


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare two folders that `process` wrote; frames are matched by camera and stamp.

    Raises:
        RecordingError: a folder holds no run, the classes differ, or no frame is in both.
    """
    runs = read_run(a), read_run(b)
    names = [[c['name'] for c in run['classes']] for run in runs]
    if names[0] != names[1]:
        raise RecordingError(f'{a} has classes {names[0]} and {b} has {names[1]}; compare runs of the same classes')
    labels = _Labels(len(names[0]))
    grids = _Grids()
    keys = [_keys(run) for run in runs]
    common = [k for k in keys[0] if k in set(keys[1])]
    if not common:
        raise RecordingError(f'{a} and {b}: no frame has the same camera and stamp; process the same recording twice')
    sources = BagSource(a / BAG), BagSource(b / BAG)
    try:
        cameras = {c for run in runs for c in run['cameras']}
        camera_of = {f'{NODE}/{c}/labels': c for c in cameras}
        for first, second in _pairs(sources[0], sources[1], {*camera_of, GRID_TOPIC}):
            if first.topic == GRID_TOPIC:
                grids.add(first, second)
            else:
                labels.add((camera_of[first.topic], first.stamp_ns), first, second)
    finally:
        for source in sources:
            source.close()
    problems = [p for source in sources for p in source.problems]
    return _comparison(runs, keys, labels, grids, names[0], problems)


def _keys(run: Mapping[str, Any]) -> list[Key]:
    return list(zip(run['figures']['camera'], run['figures']['stamp_ns'], strict=True))


def _pairs(a: BagSource, b: BagSource, topics: set[str]) -> Iterator[tuple[TimedMessage, TimedMessage]]:
    """Yield the messages of A and B that have one topic and stamp; bags are in order of their stamps."""
    streams = [_tagged(source.messages(topics), side) for side, source in enumerate((a, b))]
    waiting: dict[tuple[str, int], TimedMessage] = {}
    now = -1
    for message, side in heapq.merge(*streams, key=lambda item: item[0].stamp_ns):
        if message.stamp_ns != now:
            now = message.stamp_ns
            waiting.clear()
        other = waiting.pop((message.topic, 1 - side), None)
        if other is None:
            waiting[message.topic, side] = message
        else:
            yield (other, message) if side else (message, other)


def _tagged(stream: Iterator[TimedMessage], side: int) -> Iterator[tuple[TimedMessage, int]]:
    return ((message, side) for message in stream)


class _Labels:
    """Counts of (class in A, class in B) over all pixels, and the disagreement of each frame."""

    def __init__(self, classes: int) -> None:
        self.counts: Counts = np.zeros((classes, classes), np.int64)
        self.over_time: dict[Key, float] = {}

    def add(self, key: Key, first: TimedMessage, second: TimedMessage) -> None:
        a, b = (decode_image(m)[1].pixels for m in (first, second))
        b = labels_to_size(b, a.shape[1], a.shape[0])
        n = len(self.counts)
        known = (a < n) & (b < n)
        pairs = a[known].astype(np.int64) * n + b[known]
        counts = np.bincount(pairs, minlength=n * n).reshape(n, n)
        self.counts += counts
        total = int(counts.sum())
        self.over_time[key] = 1.0 - float(np.trace(counts)) / total if total else 0.0


class _GridDifference(NamedTuple):
    stamp_ns: int
    share: float
    """Of the cells known in either grid."""
    cells: int
    area_m2: float


class _Grids:
    """Cells that are free in one grid and occupied or unknown in the other."""

    def __init__(self) -> None:
        self.over_time: list[_GridDifference] = []
        self.unmatched = 0

    def add(self, first: TimedMessage, second: TimedMessage) -> None:
        a, b = (messages.deserialize(m.data, m.msgtype) for m in (first, second))
        same = (a.info.width, a.info.height, round(a.info.resolution, 6)) == (
            b.info.width,
            b.info.height,
            round(b.info.resolution, 6),
        )
        here, there = a.info.origin.position, b.info.origin.position
        near = math.hypot(here.x - there.x, here.y - there.y) < a.info.resolution / 2
        if not same or not near or a.header.frame_id != b.header.frame_id:
            self.unmatched += 1
            return
        free = [(g.data >= 0) & (g.data < 50) for g in (a, b)]
        known = (a.data >= 0) | (b.data >= 0)
        differ = int((free[0] != free[1]).sum())
        area = differ * float(a.info.resolution) ** 2
        self.over_time.append(_GridDifference(first.stamp_ns, differ / max(1, int(known.sum())), differ, area))


def _comparison(
    runs: tuple[dict[str, Any], dict[str, Any]],
    keys: list[list[Key]],
    labels: _Labels,
    grids: _Grids,
    names: list[str],
    problems: list[str],
) -> Comparison:
    both = set(keys[0]) & set(keys[1])
    classes = [_class_row(name, i, labels.counts) for i, name in enumerate(names)]
    covered = [c['iou'] for c in classes if c['share_a'] >= MIN_SHARE and c['iou'] is not None]
    disagreement = list(labels.over_time.values())
    if grids.unmatched:
        problems = [*problems, f'{grids.unmatched} grids differ in size, place or frame and are not compared']
    free = [dict(zip(k, run['figures']['free_ahead_m'], strict=True)) for k, run in zip(keys, runs, strict=True)]
    apart = [abs(free[0][k] - free[1][k]) for k in both if free[0][k] is not None and free[1][k] is not None]
    return Comparison(
        frames=len(both),
        only_a=len(keys[0]) - len(both),
        only_b=len(keys[1]) - len(both),
        label_disagreement=float(np.mean(disagreement)),
        worst_frame_disagreement=max(disagreement),
        classes=classes,
        class_iou_loss=1.0 - min(covered, default=1.0),
        grids=len(grids.over_time),
        grid_disagreement=_mean([g.share for g in grids.over_time]),
        grid_disagreement_cells=_mean([g.cells for g in grids.over_time]),
        grid_disagreement_m2=_mean([g.area_m2 for g in grids.over_time]),
        free_ahead_m=_mean(apart),
        slowdown=_slowdown(*runs),
        missing_frames=(len(keys[0]) - len(both)) / len(keys[0]),
        over_time=_over_time(keys[0], both, labels, grids, free),
        problems=problems,
    )


def _class_row(name: str, i: int, counts: Counts) -> dict[str, Any]:
    total = max(1, int(counts.sum()))
    both, a, b = (int(v) for v in (counts[i, i], counts[i].sum(), counts[:, i].sum()))
    return {
        'name': name,
        'share_a': a / total,
        'share_b': b / total,
        'iou': both / (a + b - both) if a + b else None,
        'only_a': (a - both) / total,
        'only_b': (b - both) / total,
    }


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None


def _slowdown(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """Median network time of B over that of A, frames of resumed runs left out."""
    medians = [np.median(times) if (times := [t for t in r['figures']['engine_ms'] if t]) else None for r in (a, b)]
    return float(medians[1] / medians[0]) if medians[0] and medians[1] else None


def _over_time(
    keys: list[Key], both: set[Key], labels: _Labels, grids: _Grids, free: list[dict[Any, Any]]
) -> dict[str, list[Any]]:
    first = keys[0][1]
    grid_at = {g.stamp_ns: g.share for g in grids.over_time}
    shown = [k for k in keys if k in both]
    return {
        'camera': [camera for camera, _ in shown],
        'seconds': [(stamp - first) / 1e9 for _, stamp in shown],
        'label_disagreement': [labels.over_time.get(k) for k in shown],
        'grid_disagreement': [grid_at.get(stamp) for _, stamp in shown],
        'free_ahead_a_m': [free[0][k] for k in shown],
        'free_ahead_b_m': [free[1][k] for k in shown],
    }
