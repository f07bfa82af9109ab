"""`seg_perception process` as a process: several recordings, workers, interruption, a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import ConfigError
from seg_perception.io.recording import RecordingOptions
from seg_perception.io.video import VideoWriter
from seg_perception.offline.job import Job, make_jobs, settings_of
from seg_perception.offline.jobs import run_cluster, run_here, run_processes
from seg_perception.offline.run import RunConfig
from seg_perception.offline.run_folder import read_run

COMMAND = [sys.executable, '-m', 'seg_perception', 'process']
TIMEOUT_S = 60
FRAMES = 400


def command(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT_S, **options
    )


@pytest.fixture
def template(tmp_path, model):
    return Job('', '', tmp_path / 'out', RecordingOptions(), model, 'onnxruntime', 1, RunConfig(video=False))


def test_a_pattern_of_recordings_and_one_that_fails(write_bag, tmp_path, model):
    write_bag(3, name='one')
    write_bag(2, name='two', storage='sqlite3')
    (tmp_path / 'three').mkdir()
    (tmp_path / 'three' / 'metadata.yaml').write_text('broken')
    done = command(f'{tmp_path}/*e', f'{tmp_path}/two', '--model', model, '--out', tmp_path / 'out', '--no-video')
    assert done.returncode == 1
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['one', 'two']
    assert [read_run(tmp_path / 'out' / n)['frames'] for n in ('one', 'two')] == [3, 2]
    assert 'one: 3 frames in' in done.stdout
    errors = done.stderr.splitlines()
    assert any(line.startswith(f'{tmp_path}/three: failed') for line in errors)
    assert errors[-1] == f'seg_perception: error: 1 of 3 recordings failed: {tmp_path}/three'
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['nothing.mcap'], 'no such file or folder'),
        (['{bag}', '--topic', '/rear'], 'no images on /rear; image topics are /front/image_raw (2 x Image)'),
        (['{bag}', '--model', 'missing.onnx'], 'missing.onnx'),
        (['{bag}', '--camera-info', 'missing.yaml'], 'missing.yaml: cannot read the calibration'),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(write_bag, tmp_path, model, options, text):
    bag = write_bag(2)
    done = command(
        *[o.format(bag=bag) for o in options], *([] if '--model' in options else ['--model', model]), cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith('seg_perception: error: ')
    assert len(done.stderr.splitlines()) == 1
    assert text in done.stderr


@pytest.fixture
def long_video(tmp_path, made):
    """Long enough to be interrupted on the way."""
    path = tmp_path / 'long.mp4'
    with VideoWriter(path, 25.0, (96, 64)) as writer:
        for i in range(FRAMES):
            writer.write(made.picture(i % 36))
    return path


def test_ctrl_c_finishes_the_files_and_resume_goes_on(long_video, tmp_path, model):
    out = tmp_path / 'out'
    arguments = [str(long_video), '--model', str(model), '--out', str(out)]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    bag = out / 'long.incomplete' / 'bag' / 'bag.mcap'
    deadline = time.monotonic() + TIMEOUT_S
    while not (bag.exists() and bag.stat().st_size > 1000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert 'go on with --resume' in errors
    assert 'Traceback' not in errors
    before = read_run(out / 'long.incomplete')
    assert before['status'] == 'interrupted'
    assert 0 < before['frames'] < FRAMES
    assert (out / 'long.incomplete' / 'report.html').exists()
    done = command(*arguments, '--resume')
    assert done.returncode == 0, done.stderr
    assert f'{FRAMES} frames, {before["frames"]} labelled before' in done.stdout
    again = command(*arguments, '--resume')
    assert again.returncode == 0
    assert 'finished before, kept' in again.stdout


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.argv = ['seg_perception', 'process', *sys.argv[1:]]
runpy.run_module('seg_perception', run_name='__main__')
"""


def test_a_full_disk_is_an_error_and_leaves_no_run_that_looks_whole(write_bag, tmp_path, model):
    """A limit on the size of files stands for the full disk: the kernel refuses the write half-way in both."""
    path = write_bag(120)
    arguments = [str(path), '--model', str(model), '--out', str(tmp_path / 'out'), '--no-video']
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 1, done.stderr
    assert 'cannot write the bag' in done.stderr
    assert 'Traceback' not in done.stderr
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['drive.incomplete']
    assert read_run(tmp_path / 'out' / 'drive.incomplete')['status'].startswith('failed')
    assert not (tmp_path / 'out' / 'drive.incomplete' / 'bag' / 'metadata.yaml').exists()
    done = command(*arguments, '--resume')
    assert done.returncode == 0, done.stderr


def test_jobs_in_processes_give_what_one_process_gives(write_bag, tmp_path, template):
    sources = [str(write_bag(3 + i, name=f'drive{i}', odometry=True)) for i in range(3)]
    jobs, _ = make_jobs([*sources, str(tmp_path / 'nothing')], template)
    seen = []
    parallel = [replace(j, out=tmp_path / 'parallel') for j in jobs]
    outcomes = list(run_processes(parallel, 2, threading.Event(), lambda j, p: seen.append(p.frames)))
    assert sorted(o.job.name for o in outcomes if o.summary) == ['drive0', 'drive1', 'drive2']
    (failed,) = (o for o in outcomes if o.summary is None)
    assert (failed.attempts, 'no such file' in failed.error) == (1, True)
    assert sum(seen) == 3 + 4 + 5
    for outcome in run_here(jobs[:3], threading.Event(), lambda j, p: None):
        name = outcome.job.name
        one, other = (tmp_path / f / name / 'bag' / 'bag.mcap' for f in ('out', 'parallel'))
        assert one.read_bytes() == other.read_bytes()


def test_a_worker_that_is_killed_is_started_again(long_video, tmp_path, template):
    (job, other), _ = make_jobs([str(long_video), str(long_video)], template)
    killed = []

    def kill_once(of, progress):
        if progress.frames and not killed:
            killed.append(of.name)
            victim = min(multiprocessing.active_children(), key=lambda p: p.pid)
            os.kill(victim.pid, signal.SIGKILL)

    outcomes = list(run_processes([job, other], 1, threading.Event(), kill_once))
    assert killed == [job.name]
    assert {o.job.name: (o.summary.frames, o.attempts) for o in outcomes} == {
        job.name: (FRAMES, 2),
        other.name: (FRAMES, 1),
    }


def test_recordings_of_one_name_get_folders_of_their_own(template):
    jobs, _ = make_jobs(['monday/front.mp4', 'tuesday/front.mp4', 'x/rear.mcap', 'scene:3'], template)
    assert [j.name for j in jobs] == ['monday_front', 'tuesday_front', 'rear', 'scene_3']


def test_a_run_is_resumed_only_with_the_same_recording_and_options(template, tmp_path):
    """What `--resume` compares is read back from JSON."""
    file = tmp_path / 'drive.mp4'
    file.write_bytes(b'short')
    job = replace(template, source=str(file), options=RecordingOptions(camera_info=tmp_path / 'front.yaml'))

    def known(job):
        return json.dumps(settings_of(job, FakeEngine().spec))

    first = known(job)
    assert known(job) == first
    assert known(replace(job, options=RecordingOptions(camera_info=tmp_path / 'rear.yaml'))) != first
    assert known(replace(job, config=replace(job.config, hood=0.1))) != first
    file.write_bytes(b'longer')
    assert known(job) != first


def test_ray_missing_is_said(template, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ConfigError, match='Ray is not installed'):
        next(run_cluster([template], 'auto', threading.Event(), lambda j, p: None))
