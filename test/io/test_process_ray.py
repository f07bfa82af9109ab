"""`process --cluster`: recordings spread over a local Ray cluster of two workers."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip('ray', reason='Ray is not installed; --cluster is optional')

from ray.cluster_utils import Cluster

from seg_perception.io.recording import RecordingOptions
from seg_perception.offline.job import Job, make_jobs
from seg_perception.offline.jobs import run_cluster, run_here
from seg_perception.offline.run import RunConfig

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings('default')]


@pytest.fixture(scope='module')
def cluster():
    """Two nodes of one CPU each, which find the package as the tests do."""
    os.environ['PYTHONPATH'] = str(Path(__file__).parents[2])
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()
    del os.environ['PYTHONPATH']


def test_two_workers_give_what_one_process_gives(write_bag, tmp_path, model, cluster):
    template = Job('', '', tmp_path / 'ray', RecordingOptions(), model, 'onnxruntime', 0, RunConfig(video=False))
    sources = [str(write_bag(4 + i, name=f'drive{i}')) for i in range(3)]
    jobs, _ = make_jobs([*sources, str(tmp_path / 'nothing')], template)
    outcomes = list(run_cluster(jobs, cluster, threading.Event(), lambda j, p: None))
    (failed,) = (o for o in outcomes if o.summary is None)
    assert 'no such file or folder' in failed.error
    assert {o.job.name: o.summary.frames for o in outcomes if o.summary} == {'drive0': 4, 'drive1': 5, 'drive2': 6}
    for outcome in run_here(
        [replace(j, out=tmp_path / 'here') for j in jobs[:3]], threading.Event(), lambda j, p: None
    ):
        one, other = (tmp_path / f / outcome.job.name / 'bag' / 'bag.mcap' for f in ('here', 'ray'))
        assert one.read_bytes() == other.read_bytes()


def test_a_worker_that_dies_is_replaced_and_the_rest_goes_on(write_bag, tmp_path, model, cluster):
    """The options end the process that reads them, the first time."""
    template = Job('', '', tmp_path / 'ray', RecordingOptions(), model, 'onnxruntime', 0, RunConfig(video=False))
    jobs, _ = make_jobs([str(write_bag(3, name='fine')), str(write_bag(3, name='fatal'))], template)
    deadly = replace(jobs[1], options=DeadlyOptions(tmp_path / 'died'))
    outcomes = {o.job.name: o for o in run_cluster([deadly, jobs[0]], cluster, threading.Event(), lambda j, p: None)}
    assert outcomes['fine'].summary.frames == 3
    assert (outcomes['fatal'].summary.frames, outcomes['fatal'].attempts) == (3, 2)


class DeadlyOptions(RecordingOptions):
    """Options that kill the process that unpickles them, once."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        object.__setattr__(self, 'mark', mark)

    def __reduce__(self):
        # Plain source: the worker cannot import this file.
        source = (
            f'(lambda os, mark, options: options() if os.path.exists(mark) else (open(mark, "w").close(), os._exit(1)))'
            f'(__import__("os"), {str(self.mark)!r}, '
            f'__import__("seg_perception.io.recording", fromlist=["x"]).RecordingOptions)'
        )
        return eval, (source,)
