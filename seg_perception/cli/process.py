"""`seg_perception process`: recordings to labelled bags, videos and reports, without ROS."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from seg_perception.cli.option_types import Number
from seg_perception.cli.recording_options import HOOD_HELP, recording_options
from seg_perception.engine import BACKENDS
from seg_perception.errors import RecordingError
from seg_perception.io.recording import RecordingOptions, expand_sources
from seg_perception.offline.job import Job, Outcome, Progress, make_jobs
from seg_perception.offline.jobs import run_cluster, run_here, run_processes
from seg_perception.offline.run import RunConfig
from seg_perception.paths import default_model

EPILOG = """\b
Examples:
  seg_perception process drive.mp4 --out runs
  seg_perception process frames/ --extrinsics 1.6,0,1.4,0,0.03,0
  seg_perception process 'bags/*' --jobs 4 --resume
  seg_perception process bags/* --cluster auto     (a Ray cluster that sees the files)
"""


@click.command('process', epilog=EPILOG)
@click.argument('inputs', metavar='INPUT...', nargs=-1, required=True)
@click.option('--out', type=click.Path(path_type=Path), default=Path('out/process'), show_default=True, help='Folder.')
@click.option('--model', type=click.Path(path_type=Path), help='ONNX model; the shipped fast one by default.')
@click.option('--backend', type=click.Choice(BACKENDS), default='auto', show_default=True, help='What runs the model.')
@click.option(
    '--threads', type=click.IntRange(0), default=0, help='CPU threads of the network [default: one per core].'
)
@click.option('--hood', type=Number(0, 0.9), default=0.0, help=HOOD_HELP)
@click.option('--geometry', is_flag=True, help='Find lane lines too; write points and markers.')
@click.option('--video/--no-video', default=True, show_default=True, help='Write the video of overlay and grid.')
@click.option('--jobs', type=click.IntRange(1, 64), default=1, show_default=True, help='Recordings at the same time.')
@click.option('--cluster', metavar='ADDRESS', help='Spread recordings over a running Ray cluster, e.g. auto.')
@click.option('--resume', is_flag=True, help='Keep finished runs, go on with interrupted ones.')
@click.option('--overwrite', is_flag=True, help='Replace finished runs.')
@recording_options
def command(
    inputs: tuple[str, ...],
    out: Path,
    model: Path | None,
    backend: str,
    threads: int,
    hood: float,
    geometry: bool,
    video: bool,
    jobs: int,
    cluster: str | None,
    resume: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Process every frame of each INPUT into OUT/<name>: bag/, video.mp4, report.html and run.json.

    INPUT is a rosbag2 (mcap or sqlite3), a rosbag1, a video, a folder of frames, scene:SEED, or a pattern of them.
    While a run is written, and after Ctrl-C, its folder is called <name>.incomplete.
    """
    chosen = RecordingOptions(**options)
    config = RunConfig(
        geometry=geometry, video=video, vehicle_frame=chosen.vehicle_frame, odom_frame=chosen.odom_frame, hood=hood
    )
    template = Job('', '', out, chosen, model or default_model(), backend, threads, config, resume, overwrite)
    todo, kept = make_jobs(expand_sources(inputs), template)
    for job in kept:
        click.echo(f'{job.source}: finished before, kept: {job.out / job.name}')
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        outcomes = _run(todo, jobs, cluster, stop)
    finally:
        signal.signal(signal.SIGINT, before)
    if stop.is_set():
        click.echo('stopped; the files so far are finished; go on with --resume', err=True)
        raise KeyboardInterrupt
    failed = [o for o in outcomes if o.summary is None]
    if failed and len(todo) == 1:
        raise RecordingError(failed[0].error)
    if failed:
        raise RecordingError(
            f'{len(failed)} of {len(todo)} recordings failed: {", ".join(o.job.source for o in failed)}'
        )


def _run(todo: Sequence[Job], jobs: int, cluster: str | None, stop: threading.Event) -> list[Outcome]:
    """Do the jobs with one bar over all frames, and report each as it ends."""
    outcomes = []
    with tqdm(total=0, unit='frame', desc='processing', disable=None, smoothing=0.05) as bar:

        def show(_: Job, progress: Progress) -> None:
            if progress.total:
                bar.total = (bar.total or 0) + progress.total
            bar.update(progress.frames)

        for outcome in _outcomes(todo, jobs, cluster, stop, show):
            outcomes.append(outcome)
            with bar.external_write_mode():
                _report(outcome, alone=len(todo) == 1)
    return outcomes


def _outcomes(
    todo: Sequence[Job], jobs: int, cluster: str | None, stop: threading.Event, show: Any
) -> Iterator[Outcome]:
    if cluster:
        return run_cluster(todo, cluster, stop, show)
    if jobs > 1 and len(todo) > 1:
        return run_processes(todo, jobs, stop, show)
    return run_here(todo, stop, show)


def _report(outcome: Outcome, *, alone: bool) -> None:
    job, summary = outcome.job, outcome.summary
    tries = f' (attempt {outcome.attempts})' if outcome.attempts > 1 else ''
    if summary is None:
        if not alone:  # the only one is reported as the command's own error
            click.echo(f'{job.source}: failed{tries}: {outcome.error}', err=True)
        return
    for problem in summary.problems:
        click.echo(f'warning: {problem}', err=True)
    resumed = f', {summary.resumed} labelled before' if summary.resumed else ''
    rate = summary.frames / summary.seconds if summary.seconds > 0 else 0.0
    network = ''
    if summary.bare_ms is not None:
        network = f'; the network alone {summary.bare_ms:.1f} ms a frame'
    if summary.network_multiple is not None:
        network += f', x {summary.network_multiple:.2f} in all'
    click.echo(
        f'{job.source}: {summary.frames} frames{resumed} in {summary.seconds:.1f} s ({rate:.1f} per second{network})'
        f'{tries}: {summary.folder}'
    )
