"""Many recordings: here one after the other, in several processes, or on a Ray cluster.

A job that fails for a reason that may pass is done once more, from where it stopped, and stops none of the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple

from seg_perception.errors import ConfigError, SegPerceptionError
from seg_perception.offline.job import Job, Outcome, Progress, may_pass_next_time, run_job
from seg_perception.offline.run import RunSummary

ATTEMPTS = 2
POLL_S = 0.2
OnProgress = Callable[[Job, Progress], None]


def run_here(jobs: Sequence[Job], stop: threading.Event, on_progress: OnProgress) -> Iterator[Outcome]:
    """Do the jobs one after the other in this process."""
    for job in jobs:
        if stop.is_set():
            return
        for attempt in range(1, ATTEMPTS + 1):
            try:
                yield Outcome(job, run_job(_again(job, attempt), stop, _bound(on_progress, job)), '', attempt)
                break
            except Exception as error:
                if not isinstance(error, SegPerceptionError) and attempt == ATTEMPTS:
                    raise  # a bug, twice
                if attempt == ATTEMPTS or not may_pass_next_time(error):
                    yield Outcome(job, None, str(error), attempt)
                    break


def _bound(on_progress: OnProgress, job: Job) -> Callable[[Progress], None]:
    return lambda progress: on_progress(job, progress)


def _again(job: Job, attempt: int) -> Job:
    return job if attempt == 1 else replace(job, resume=True)


class _Failed(NamedTuple):
    text: str
    may_pass: bool


class _Worker(NamedTuple):
    process: SpawnProcess
    job: Job
    attempt: int


def run_processes(jobs: Sequence[Job], count: int, stop: threading.Event, on_progress: OnProgress) -> Iterator[Outcome]:
    """Do the jobs in `count` processes at a time, each with its share of the cores; a crash is that job's alone."""
    threads = max(1, (os.cpu_count() or 1) // count)
    waiting = [(replace(j, threads=j.threads or threads), 1) for j in jobs]
    running: dict[Connection, _Worker] = {}
    told = False
    while running or (waiting and not stop.is_set()):
        while waiting and len(running) < count and not stop.is_set():
            connection, worker = _start(*waiting.pop(0))
            running[connection] = worker
        if stop.is_set() and not told:
            told = True
            for worker in running.values():
                if worker.process.pid is not None:
                    os.kill(worker.process.pid, signal.SIGINT)
        for connection in [c for c in wait(list(running), POLL_S) if isinstance(c, Connection)]:
            outcome = _hear(connection, running[connection], on_progress)
            if outcome is None:
                continue
            worker = running.pop(connection)
            worker.process.join()
            if outcome.summary is None and outcome.attempts == 0:
                waiting.insert(0, (worker.job, worker.attempt + 1))
            else:
                yield outcome


def _start(job: Job, attempt: int) -> tuple[Connection, _Worker]:
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(_again(job, attempt), theirs), daemon=True)
    process.start()
    theirs.close()
    return ours, _Worker(process, job, attempt)


def _hear(connection: Connection, worker: _Worker, on_progress: OnProgress) -> Outcome | None:
    """Take one message; an outcome of 0 attempts asks for another attempt."""
    try:
        message = connection.recv()
    except EOFError:
        worker.process.join()
        message = _Failed(f'its process ended with exit code {worker.process.exitcode}', True)
    if isinstance(message, Progress):
        on_progress(worker.job, message)
        return None
    if isinstance(message, RunSummary):
        return Outcome(worker.job, message, '', worker.attempt)
    again = message.may_pass and worker.attempt < ATTEMPTS
    return Outcome(worker.job, None, message.text, 0 if again else worker.attempt)


def _work(job: Job, connection: Connection) -> None:
    """Do one job in a process of its own."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        connection.send(run_job(job, stop, connection.send))
    except Exception as error:  # told to the parent, which reports it
        connection.send(_Failed(str(error) or type(error).__name__, may_pass_next_time(error)))


def run_cluster(jobs: Sequence[Job], address: str, stop: threading.Event, on_progress: OnProgress) -> Iterator[Outcome]:
    """Do the jobs on a running Ray cluster whose machines have this package and see the same files.

    A job takes as many CPUs of the cluster as it has threads; one when it leaves that open.

    Raises:
        ConfigError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError('Ray is not installed, and --cluster needs it; pip install "ray==2.60.0"') from error
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = ' '.join(str(error).split())[:160]
        raise ConfigError(
            f'no Ray cluster answers at {address!r} ({text}); start it with `ray start --head`'
        ) from error
    try:
        yield from _on_ray(ray, jobs, stop, on_progress)
    finally:
        ray.shutdown()


def _on_ray(ray: Any, jobs: Sequence[Job], stop: threading.Event, on_progress: OnProgress) -> Iterator[Outcome]:
    def submit(job: Job, attempt: int) -> Any:
        job = replace(_again(job, attempt), threads=max(1, job.threads))
        return ray.remote(num_cpus=job.threads, max_retries=0)(run_job).remote(job)

    running = {submit(job, 1): (job, 1) for job in jobs}
    while running:
        if stop.is_set():
            for reference in running:
                ray.cancel(reference)
            return
        ready, _ = ray.wait(list(running), timeout=POLL_S)
        for reference in ready:
            job, attempt = running.pop(reference)
            try:
                summary = ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, 'cause', None) or error
                if attempt < ATTEMPTS and may_pass_next_time(cause):
                    running[submit(job, attempt + 1)] = (job, attempt + 1)
                else:
                    yield Outcome(job, None, ' '.join(str(cause).split())[:300], attempt)
                continue
            on_progress(job, Progress(summary.frames, summary.frames))
            yield Outcome(job, summary, '', attempt)
