"""A build that is killed at any moment never leaves a plan that is used wrongly.

SEG_PERCEPTION_KILLS sets how often; 50 takes about a minute.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from seg_perception.engine.cache import Fingerprint, PlanCache

KILLS = int(os.environ.get('SEG_PERCEPTION_KILLS', '8'))
FIRST = Fingerprint('a' * 64, 'tensorrt_rtx', '1.7', '13.0', '13.0', 'GPU', '8.9', 'fp32', '1, 1, 1', 0, None)
SECOND = replace(FIRST, gpu='another')

BUILDER = """
import sys
from pathlib import Path
from seg_perception.engine import trt_api
from seg_perception.engine.cache import PlanCache
from seg_perception.engine.onnxrt import read_spec
from seg_perception.engine.plan import BuildOptions, build
from seg_perception.engine.cache import Fingerprint

model, directory = Path(sys.argv[1]), Path(sys.argv[2])
fingerprints = [Fingerprint(**eval(text)) for text in sys.argv[3:]]
trt, spec, cache = trt_api.load(), read_spec(model), PlanCache(directory)
print('ready', flush=True)
while True:
    for fingerprint in fingerprints:
        with cache.lock('m'):
            if cache.load('m', fingerprint).plan is None:
                plan = build(trt, model.read_bytes(), spec, BuildOptions(), portable=True).data
                cache.store('m', fingerprint.gpu.encode().ljust(16) + plan, fingerprint, {})
"""


@pytest.mark.timeout(600)
def test_killing_the_builder_leaves_a_right_plan_or_none(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip('tensorrt_rtx_bindings', reason='TensorRT-RTX is not installed')
    directory, rng, found = tmp_path / 'plans', random.Random(5), 0
    as_text = [repr({f: getattr(x, f) for f in x.__dataclass_fields__}) for x in (FIRST, SECOND)]
    for _ in range(KILLS):
        command = [sys.executable, '-c', BUILDER, str(tiny), str(directory), *as_text]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == 'ready\n'
            try:
                child.wait(rng.uniform(0.0, 0.8))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            child.wait()
        cache = PlanCache(directory)
        for fingerprint in (FIRST, SECOND):
            plan = cache.load('m', fingerprint).plan
            if plan is not None:
                found += 1
                assert plan.startswith(fingerprint.gpu.encode().ljust(16)), 'a plan of another GPU'
                assert plan[16:20] == b'vtrt', 'not a plan'
    assert found > 0, 'no build got far enough to test anything'
    with cache.lock('m'):  # a killed holder lets go
        cache.store('m', b'next', FIRST, {})
    assert cache.load('m', FIRST).plan == b'next'
    assert not list(directory.glob('*.part'))
