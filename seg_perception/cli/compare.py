"""`seg_perception compare`: two processed runs, and a gate for regressions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from seg_perception.cli.option_types import OutputFile
from seg_perception.offline.compare import Comparison, compare_runs
from seg_perception.offline.compare_page import number, tiles, write_comparison
from seg_perception.offline.run_folder import read_run
from seg_perception.offline.thresholds import Check, Thresholds, read_thresholds

GATE_FAILED = 3

EPILOG = """\b
Examples:
  seg_perception compare runs_old/drive runs_new/drive
  seg_perception compare A B --html diff.html --json diff.json
  seg_perception compare A B --thresholds gate.yaml     (exit code 3 beyond it, or with nothing to compare)

\b
gate.yaml, all of it optional:
  label_disagreement: 0.01        mean share of pixels with another class
  worst_frame_disagreement: 0.05
  class_iou_loss: 0.05            1 - IoU of A and B, worst class
  grid_disagreement: 0.02         share of known cells that are free in one grid only
  free_ahead_m: 1.0               mean difference of the free distance
  slowdown: 1.10                  network time of B / A
  missing_frames: 0.0             share of A's frames that B lacks
"""


@click.command('compare', epilog=EPILOG)
@click.argument('run_a', type=click.Path(path_type=Path))
@click.argument('run_b', type=click.Path(path_type=Path))
@click.option('--thresholds', type=click.Path(path_type=Path), help='YAML of what may differ; exit code 3 beyond it.')
@click.option('--json', 'json_file', type=OutputFile(), help='Write all figures there.')
@click.option('--html', 'html_file', type=OutputFile(), help='Write a page with charts there.')
def command(run_a: Path, run_b: Path, thresholds: Path | None, json_file: Path | None, html_file: Path | None) -> int:
    """Compare two folders that `process` wrote of the same recording: RUN_A is the reference, RUN_B the new one."""
    limits = read_thresholds(thresholds) if thresholds else Thresholds()
    found = compare_runs(run_a, run_b)
    checks = found.check(limits)
    _print(found, checks)
    if json_file:
        data = {**found._asdict(), 'checks': [c._asdict() for c in checks]}
        json_file.write_text(json.dumps(data, indent=1, allow_nan=False), encoding='utf-8')
    if html_file:
        write_comparison(html_file, found, checks, [(run, read_run(run)) for run in (run_a, run_b)])
    return 0 if all(c.ok for c in checks) else GATE_FAILED


def _print(found: Comparison, checks: list[Check]) -> None:
    for name, value in tiles(found):
        click.echo(f'{name:<28}{value}')
    click.echo(f'\n{"class":<16}{"share A":>10}{"share B":>10}{"IoU":>10}{"A only":>10}{"B only":>10}')
    for row in found.classes:
        values = ''.join(f'{number(row[k]):>10}' for k in ('share_a', 'share_b', 'iou', 'only_a', 'only_b'))
        click.echo(f'{row["name"]:<16}{values}')
    for problem in found.problems:
        click.echo(f'warning: {problem}', err=True)
    if checks:
        click.echo(f'\n{"threshold":<28}{"found":>10}{"allowed":>10}')
    for c in checks:
        click.echo(
            f'{c.name:<28}{number(c.found):>10}{number(c.limit):>10}  {c.verdict if c.ok else c.verdict.upper()}'
        )
