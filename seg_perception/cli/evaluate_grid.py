"""`seg_perception evaluate-grid`: the grid against synthetic truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from seg_perception.camera import PLUMB_BOB, Pose
from seg_perception.cli.option_types import OutputFile
from seg_perception.engine import open_engine
from seg_perception.errors import ConfigError
from seg_perception.frames import from_array, to_network
from seg_perception.grid.report import Row, draw_outcome, figures, measures, page
from seg_perception.grid.score import GridScore
from seg_perception.grid.trials import (
    MODELS,
    Labeller,
    Trial,
    TrialRunner,
    trial,
    true_labels,
    two_cameras,
)
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.lane_metrics import ThingScores, summary
from seg_perception.scene import CameraView

FREE_IOU, RANGE_MEDIAN, RANGE_P95 = 0.97, 0.03, 0.06
PITCH_ERRORS_DEG = (0.5, 1.0, 2.0)
HEIGHT_ERRORS_M = (-0.1, 0.1)
SENSITIVITY_SEEDS = 4
NETWORK_WIDTH = 1280


@dataclass
class _Evaluation:
    seeds: int
    width: int
    labeller: Labeller
    judged: bool
    """Whether the labels are true; a network's grid is measured and not judged."""
    rows: list[Row] = field(default_factory=list)
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    things: dict[str, ThingScores] = field(default_factory=dict)

    def run(self, name: str, trials: Iterable[Trial], error: Callable[[Pose], Pose], bars: bool) -> None:
        """Score a configuration frame by frame and fused, print both."""
        runner = TrialRunner(self.labeller, mounting_error=error)
        for t in trials:
            for outcome in runner.run(t):
                if t.seed < 2:  # the last frame stays
                    self.pictures[f'{name}, drive {t.seed}'] = draw_outcome(outcome)
        single, fused = runner.single.result(), runner.fused.result()
        self.things[name] = runner.things.scores()
        better = fused.total.range_error_p95 < single.total.range_error_p95
        self._add(Row(name, single, _meets_bars(single) if bars else None))
        self._add(Row(f'{name}_fused', fused, better if bars else None))
        if bars:
            self._add(Row(f'{name}_perfect', runner.perfect.result(), None))
        shared = {part: scorer.result() for part, scorer in runner.shared.items()}
        for part, score in shared.items():
            at_least = _no_worse(score, shared) if part == 'overlap' and self.judged else None
            self._add(Row(f'{name}_{part}', score, at_least))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        mark = {None: '', True: 'ok', False: 'MISSED'}[row.passed]
        click.echo(row.name.ljust(34) + ''.join(v.rjust(10) for v in figures(row.score)) + f'  {mark}')


def _network_labels(model: Path) -> Labeller:
    """Labels of a network, run as the pipeline runs it.

    Raises:
        ModelError, EngineError: the model cannot be opened or run.
    """
    engine = open_engine(model)

    def label(view: CameraView) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        to_network(from_array(view.image, 'rgb8'), engine.input(1)[0])
        labels, confidence = engine.infer(1)
        return labels[0].copy(), confidence[0].copy()

    return Labeller(engine.spec.labels, engine.spec.class_precision, label)


def _meets_bars(score: GridScore) -> bool:
    t = score.total
    return (
        t.free_iou >= FREE_IOU
        and t.range_error_median <= RANGE_MEDIAN
        and t.range_error_p95 <= RANGE_P95
        and score.hidden_free_cells == 0
    )


def _no_worse(score: GridScore, others: Mapping[str, GridScore]) -> bool:
    """Whether several cameras are as good as the best of them alone where all look."""
    totals = [other.total for part, other in others.items() if part != 'seam']
    best_iou, best_p95 = max(t.free_iou for t in totals), min(t.range_error_p95 for t in totals)
    return score.total.free_iou >= best_iou and score.total.range_error_p95 <= best_p95


def _pitched(degrees: float) -> Callable[[Pose], Pose]:
    """Tell the grid that the camera looks this much further down than it does."""
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    down = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return lambda pose: Pose.from_rotation(down @ pose.rotation, pose.translation_m)


def _raised(metres: float) -> Callable[[Pose], Pose]:
    return lambda pose: Pose(
        (pose.translation_m[0], pose.translation_m[1], pose.translation_m[2] + metres), pose.quaternion
    )


EPILOG = """\b
Examples:
  seg_perception evaluate-grid
  seg_perception evaluate-grid --seeds 20 --json grid.json --report grid.html
"""


@click.command(epilog=EPILOG)
@click.option('--seeds', default=20, show_default=True, type=click.IntRange(1), help='Drives per camera model.')
@click.option(
    '--model',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Label with this network instead of the truth.',
)
@click.option(
    '--label-width',
    default=640,
    show_default=True,
    type=click.IntRange(160, 1920),
    help='Width of the true label images (16:9).',
)
@click.option(
    '--sensitivity/--no-sensitivity',
    default=True,
    show_default=True,
    help='Also tell the grid a wrong pitch and height.',
)
@click.option('--check', is_flag=True, help='Exit with 3 when a bar is missed (true labels only).')
@click.option('--json', 'json_path', type=OutputFile(), help='Write the measures here.')
@click.option('--report', type=OutputFile(), help='Write a page with pictures here.')
def command(
    seeds: int,
    model: Path | None,
    label_width: int,
    sensitivity: bool,
    check: bool,
    json_path: Path | None,
    report: Path | None,
) -> int:
    """Measure the grid against synthetic truth, frame by frame and fused with odometry.

    NAME is a single frame in base_link; NAME_fused is the memory in the axes of odom, whose p95 must be smaller; its hidden
    cells are those that it remembers. Where there are bars, NAME_perfect is the true grid measured by the same rule: the
    range error that cells of this size have.

    two_cameras_overlap is the grid of both cameras where both look, two_cameras_left and _right that of each alone there, and
    two_cameras_seam that of both within a few cells of the overlap's border.

    Three camera models at mountings drawn by seed (1.2 to 1.6 m high, 2 degrees up to 6 degrees down, roll up to
    2 degrees), then two overlapping cameras, then wrong mountings. All measures are taken within 30 m.
    """
    if check and model:
        raise ConfigError('--check has bars for true labels only; leave out --model or --check')
    labeller = _network_labels(model) if model else true_labels(DEFAULT_LABELS)
    width = NETWORK_WIDTH if model else label_width
    evaluation = _Evaluation(seeds, width, labeller, judged=model is None)
    heads = ('free IoU', 'occ. IoU', 'median', 'p95', 'false', 'worst m', 'hidden', 'frames')
    click.echo('configuration'.ljust(34) + ''.join(h.rjust(10) for h in heads))
    same = _raised(0.0)
    for name in MODELS:
        evaluation.run(name, (trial(name, s, width) for s in range(seeds)), same, bars=evaluation.judged)
    few = range(min(seeds, SENSITIVITY_SEEDS))
    evaluation.run('two_cameras', (two_cameras(s, width) for s in few), same, bars=False)
    if sensitivity:
        wrong = {f'pitch_error_{e:g}_deg': _pitched(e) for e in (0.0, *PITCH_ERRORS_DEG)}
        wrong |= {f'height_error_{e:+g}_m': _raised(e) for e in HEIGHT_ERRORS_M}
        for name, error in wrong.items():
            evaluation.run(name, (trial(PLUMB_BOB, s, width) for s in few), error, bars=False)
    for name, scores in evaluation.things.items():
        click.echo(summary(name, scores))
    _write(evaluation, model, json_path, report)
    return 3 if check and any(row.passed is False for row in evaluation.rows) else 0


def _write(evaluation: _Evaluation, model: Path | None, json_path: Path | None, report: Path | None) -> None:
    source = model.name if model else f'true labels, {evaluation.width} pixels wide'
    if json_path:
        configurations = {row.name: measures(row.score) for row in evaluation.rows}
        for name, scores in evaluation.things.items():
            configurations[name] |= scores._asdict()
        data = {'labels': source, 'seeds': evaluation.seeds, 'configurations': configurations}
        json_path.write_text(json.dumps(data, indent=2) + '\n', encoding='utf-8')
    if report:
        notes = (
            f'Labels: {source}. {evaluation.seeds} drives per camera model. Within 30 m of the camera; free IoU counts '
            'unknown as a miss; range error is to the first cell that is not free, along bearings half a degree apart. '
            'Hidden free cells of a fused grid are those that it remembers.'
        )
        report.write_text(
            page('Grid against synthetic truth', evaluation.rows, evaluation.pictures, notes), encoding='utf-8'
        )
