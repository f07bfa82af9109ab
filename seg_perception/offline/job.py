"""One recording as a job: everything it needs travels with it, so that any process on any machine can do it."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from seg_perception import __version__
from seg_perception.errors import EngineError, SegPerceptionError
from seg_perception.io.recording import RecordingOptions, open_recording
from seg_perception.model import ModelSpec
from seg_perception.offline.engine_pool import open_pool
from seg_perception.offline.run import RunConfig, RunSummary, process
from seg_perception.offline.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, and what to make of it."""

    source: str
    name: str
    """Of the run's folder in `out`."""
    out: Path
    options: RecordingOptions
    model: Path
    backend: str
    threads: int
    config: RunConfig
    resume: bool = False
    overwrite: bool = False


class Progress(NamedTuple):
    """What a job tells while it runs."""

    total: int | None
    """Frames to come, told once; None when the recording does not say."""
    frames: int
    """Frames just labelled."""


class Outcome(NamedTuple):
    """How a job ended."""

    job: Job
    summary: RunSummary | None
    """None when it failed."""
    error: str
    """'' when it did not fail."""
    attempts: int


def make_jobs(sources: Sequence[str], template: Job) -> tuple[list[Job], list[Job]]:
    """Return the jobs to do, and those whose finished folder `resume` keeps.

    Recordings of one name get folders that tell them apart.
    """
    names = [_name(s) for s in sources]
    jobs = []
    for i, source in enumerate(sources):
        name = names[i]
        if names.count(name) > 1:
            parent = Path(source).resolve().parent.name
            name = f'{parent}_{name}' if [*map(_with_parent, sources)].count(f'{parent}_{name}') == 1 else f'{name}_{i}'
        jobs.append(replace(template, source=source, name=name))
    done = [j for j in jobs if template.resume and (j.out / j.name).exists()]
    return [j for j in jobs if j not in done], done


def _name(source: str) -> str:
    path = Path(source)
    name = path.name if path.is_dir() else path.stem
    return (name or path.resolve().name).replace(':', '_')


def _with_parent(source: str) -> str:
    return f'{Path(source).resolve().parent.name}_{_name(source)}'


def run_job(
    job: Job,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] = lambda p: None,
) -> RunSummary:
    """Open recording and engine, and process.

    Raises:
        SegPerceptionError: the recording, the model or the output cannot be used.
    """
    recording = open_recording(job.source, job.options)
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # every core has its stage; threads that OpenCV adds only spin beside them
    try:
        on_progress(Progress(recording.frame_count, 0))
        batch = min(4, len(recording.cameras))
        engines = open_pool(job.model, job.backend, max_batch=batch, threads=job.threads)
        try:
            return process(
                recording,
                engines,
                RunFolder(job.out, job.name),
                job.config,
                settings_of(job, engines.spec),
                resume=job.resume,
                overwrite=job.overwrite,
                stop=stop,
                on_frames=lambda n: on_progress(Progress(None, n)),
            )
        finally:
            engines.close()
    finally:
        cv2.setNumThreads(opencv_threads)
        recording.close()


def settings_of(job: Job, spec: ModelSpec) -> dict[str, Any]:
    """Return everything the labels and grids depend on, as plain values."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(job.options).items()}
    return {
        'version': __version__,
        'python': platform.python_version(),
        'processor': platform.processor() or platform.machine(),
        'model': {
            'path': str(job.model),
            'name': spec.name,
            'sha256': spec.sha256,
            'precision': spec.precision,
            'input': f'{spec.input_width}x{spec.input_height}',
        },
        'recording': {'source': job.source, **_identity(job.source), **options},
        'odom_frame': job.config.odom_frame,
        'geometry': job.config.geometry,
        'hood': job.config.hood,
        'grid': asdict(job.config.pipeline.grid),
    }


def _identity(source: str) -> dict[str, int]:
    """Tell a recording from another one of the same name."""
    path = Path(source)
    files = sorted(p for p in path.glob('*') if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    return {'files': len(files), 'bytes': sum(f.stat().st_size for f in files)}


def may_pass_next_time(error: Exception) -> bool:
    """Tell whether a second attempt is worth it: bad input stays bad, a device or a machine may recover."""
    return isinstance(error, EngineError) or not isinstance(error, SegPerceptionError)
