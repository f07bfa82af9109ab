"""`seg_perception doctor`: why nothing arrives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

import click

from seg_perception.doctor import Finding, Snapshot, Status, diagnose

EPILOG = """\b
Examples:
  seg_perception doctor                                  (the running node and its cameras)
  seg_perception doctor --cameras-only                   (every image topic; before the node is started)
  seg_perception doctor --camera front=/cam0/image_raw
  seg_perception doctor --json | jq '.findings[] | select(.status == "error")'

Exit codes: 0 no error was found, 3 at least one was. docs/doctor.md goes by symptom.
"""
COLORS = {Status.OK: 'green', Status.WARNING: 'yellow', Status.ERROR: 'red'}


@click.command('doctor', epilog=EPILOG)
@click.option('--node', default='seg_perception', show_default=True, help='Name of the node, or its full name.')
@click.option('--camera', 'cameras', multiple=True, metavar='NAME[=TOPIC]', help="Look at this camera, not the node's.")
@click.option('--cameras-only', is_flag=True, help='Do not expect the node to run.')
@click.option('--base-frame', default='', help="Vehicle frame; default: the node's, else base_link.")
@click.option('--model', default='', help="Model file; default: the node's, else the shipped one.")
@click.option('--duration', 'duration_s', default=4.0, show_default=True, help='Seconds to listen to the cameras.')
@click.option('--min-rate', 'min_rate_hz', default=5.0, show_default=True, help='Images per second that are enough.')
@click.option('--json', 'as_json', is_flag=True, help='Print JSON.')
def command(
    node: str,
    cameras: tuple[str, ...],
    cameras_only: bool,
    base_frame: str,
    model: str,
    duration_s: float,
    min_rate_hz: float,
    as_json: bool,
) -> int:
    """Find out why nothing arrives: cameras, QoS, calibration, TF, clock, transport, node, model, GPU.

    Listens for a few seconds and prints each check as ok, warning or error, with what to do.
    """
    with _stdout_to_stderr():
        snapshot = _look(node, cameras, cameras_only, base_frame, model, duration_s, min_rate_hz)
    findings = diagnose(snapshot)
    click.echo(_json(snapshot, findings) if as_json else _text(snapshot, findings))
    return 3 if any(f.status is Status.ERROR for f in findings) else 0


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep what libraries print out of the report: Fast DDS writes its complaints to stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _look(
    node: str,
    cameras: tuple[str, ...],
    cameras_only: bool,
    base_frame: str,
    model: str,
    duration_s: float,
    min_rate_hz: float,
) -> Snapshot:
    """Take the snapshot; without ROS, that of the machine alone, with the reason."""
    from seg_perception.doctor import machine

    failure = machine.rmw_failure()
    if not failure:
        try:
            from seg_perception.ros.probe import ProbeOptions, take
        except ImportError as error:
            failure = f'rclpy cannot be imported: {error}'
        else:
            return take(ProbeOptions(node, cameras, cameras_only, base_frame, duration_s, min_rate_hz, model))
    return Snapshot(machine.look(model), machine.transport(machine.rmw_name(), failure))


def _json(snapshot: Snapshot, findings: list[Finding]) -> str:
    counts = {status.value: sum(f.status is status for f in findings) for status in Status}
    body = {
        'listened_s': snapshot.duration_s,
        'node': snapshot.node.name,
        'counts': counts,
        'findings': [{**f._asdict(), 'status': f.status.value} for f in findings],
    }
    return json.dumps(body, indent=2)


def _text(snapshot: Snapshot, findings: list[Finding]) -> str:
    """One block for each subject, one line for each check, its remedy under it."""
    lines = []
    for subject, group in groupby(sorted(findings, key=_place(findings)), key=lambda f: f.subject):
        lines += [click.style(subject, bold=True)]
        for f in group:
            lines.append(f'  {click.style(f"{f.status.value:8}", fg=COLORS[f.status])}{f.check:12} {f.text}')
            if f.remedy:
                lines.append(f'{"":23}-> {f.remedy}')
    counts = {status: sum(f.status is status for f in findings) for status in Status}
    found = ((counts[Status.ERROR], 'error'), (counts[Status.WARNING], 'warning'))
    lines.append(', '.join(f'{n} {word}{"s" * (n != 1)}' for n, word in found) + f', {counts[Status.OK]} ok')
    return '\n'.join(lines)


def _place(findings: list[Finding]) -> Callable[[Finding], int]:
    """Return a key that keeps the subjects in the order in which they first come."""
    order: dict[str, int] = {}
    for f in findings:
        order.setdefault(f.subject, len(order))
    return lambda f: order[f.subject]
