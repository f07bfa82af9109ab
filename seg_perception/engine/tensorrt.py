"""TensorRT: the engine on the vehicle's GPU, from the plan cache or built on the spot."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_perception.engine import parity, precision, siblings, trt_api
from seg_perception.engine.base import EngineInfo, Prediction, check_batch
from seg_perception.engine.cache import Fingerprint, Lookup, PlanCache, load_plan, plan_name
from seg_perception.engine.cuda import Gpu, Session
from seg_perception.engine.onnxrt import OnnxRuntimeEngine, read_model, read_spec
from seg_perception.engine.plan import BuildOptions, build
from seg_perception.engine.trt_api import TensorRt
from seg_perception.engine.trt_messages import explain
from seg_perception.engine.trt_progress import ProgressFn
from seg_perception.errors import EngineError
from seg_perception.model import ModelSpec

LOG = logging.getLogger(__name__)


class TensorRtEngine:
    """Runs a plan; see `seg_perception.engine.base.Engine`.

    `input` is page-locked memory (on a Jetson the GPU's own view of it), so a frame written there is uploaded
    without another copy. Arrays are invalid after `close`.
    """

    def __init__(self, trt: TensorRt, session: Session, plan: bytes, spec: ModelSpec, max_batch: int) -> None:
        """Load a plan into `session`, which the engine closes.

        Raises:
            EngineError: TensorRT or CUDA refuses it; everything is freed.
        """
        self.spec = spec
        self.max_batch = max_batch
        self._trt, self._session = trt, session
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._logger = trt_api.make_logger(trt)
        try:
            self._load(plan)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes) -> None:
        trt, session = self._trt, self._session
        with session.phase('load the plan'):
            self._runtime = self._made(trt.module.Runtime(self._logger), 'start its runtime')
            self._engine = self._made(self._runtime.deserialize_cuda_engine(plan), 'load the plan')
            self._context = self._made(trt_api.create_context(trt, self._engine), 'prepare the plan')
        self._smallest = int(self._engine.get_tensor_profile_shape('image', 0)[0][0])
        h, w = self.spec.input_height, self.spec.input_width
        self._image = session.allocate((self.max_batch, h, w, 3))
        self._labels = session.allocate((self.max_batch, h, w))
        self._confidence = session.allocate((self.max_batch, h, w))
        for name, buffer in (('image', self._image), ('labels', self._labels), ('confidence', self._confidence)):
            if not self._context.set_tensor_address(name, buffer.device):
                raise EngineError(self._message(f'bind `{name}`'))
        self._shaped = 0
        self.achieved = precision.from_inspector(self._inspect())
        self.info = EngineInfo(
            trt.flavour, f'cuda {session.gpu.name}', self.achieved.describe(), self.spec.sha256[:12], ''
        )

    def _made(self, thing: Any, what: str) -> Any:
        if thing is None:
            raise EngineError(self._message(what))
        return thing

    def _message(self, what: str) -> str:
        reason = self._logger.errors[-1] if self._logger.errors else 'no reason given'
        return explain(f'{self.spec.path}: {self._trt} cannot {what}', reason)

    def _inspect(self) -> str:
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.module.LayerInformationFormat.JSON))

    def input(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the page-locked input memory for `n` frames."""
        check_batch(n, self.max_batch)
        return self._image.host[:n]

    def infer(self, n: int) -> Prediction:
        """Run the first `n` frames of the input memory.

        Raises:
            EngineError: the device failed, the batch is too large, or this is not the thread that opened the engine.
        """
        session = self._session
        session.check_thread()
        check_batch(n, self.max_batch)
        with session.phase('copy the frames to the GPU'):
            session.upload(self._image, n)
        with session.phase('run the network'):
            self._enqueue(n)
        with session.phase('copy the labels from the GPU'):
            session.download(self._labels, n)
            session.download(self._confidence, n)
            session.wait()
        return Prediction(self._labels.host[:n], self._confidence.host[:n])

    def _enqueue(self, n: int) -> None:
        # A plan without dynamic batch (DLA) runs whole; the surplus items are stale frames that nobody reads.
        batch = max(n, self._smallest)
        if batch != self._shaped:
            if not self._context.set_input_shape('image', (batch, *self._image.host.shape[1:])):
                raise EngineError(self._message(f'take {batch} frames'))
            self._shaped = batch
        if not self._context.execute_async_v3(self._session.stream.handle):
            raise EngineError(self._message('run the network'))

    def engine_ms(self, n: int, runs: int) -> list[float]:
        """Return the time of the network alone, without copies, of each of `runs` runs, by CUDA events."""
        session, times = self._session, []
        session.check_thread()
        start, end = session.timer(), session.timer()
        with session.phase('time the network'):
            for _ in range(runs):
                start.record(session.stream)
                self._enqueue(n)
                end.record(session.stream)
                end.synchronize()
                times.append(float(end.time_since(start)))
        return times

    def close(self) -> None:
        """Release the plan, then all memory, then the CUDA context; calling it twice is allowed."""
        # TensorRT frees its device memory in these destructors, which needs the context still current.
        self._context = None
        self._engine = None
        self._runtime = None
        self._session.close()


def fingerprint(trt: TensorRt, gpu: Gpu, spec: ModelSpec, options: BuildOptions) -> Fingerprint:
    """Return everything that a plan of `spec` with `options` on `gpu` depends on."""
    return Fingerprint(
        model_sha256=spec.sha256,
        flavour=trt.flavour,
        tensorrt=trt.version,
        cuda=gpu.cuda,
        driver=gpu.driver,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=spec.precision,
        profile=', '.join(map(str, options.profile)),
        workspace_mib=options.workspace_mib,
        dla_core=options.dla_core,
    )


def open_tensorrt(
    model: Path,
    options: BuildOptions,
    *,
    plan: Path | None = None,
    progress: ProgressFn | None = None,
    rebuild: bool = False,
) -> TensorRtEngine:
    """Open `model` on the GPU: take its plan from the cache, build it when there is none that fits, and check it.

    Args:
        plan: a plan at an explicit path instead of the cache; it is never rebuilt.
        rebuild: build even when the cached plan fits.

    Raises:
        ModelError: the file does not follow the contract.
        EngineError: no TensorRT, no GPU, a graph that TensorRT refuses, or a plan that labels wrongly.
    """
    session = Session()  # first, because a missing GPU is the most usual reason and the quickest to find
    try:
        trt = trt_api.load()
        model = siblings.for_tensorrt(model)
        spec = read_spec(model)
        want = fingerprint(trt, session.gpu, spec, options)
        if plan is not None:
            data = _explicit(plan, want)
        else:
            data = _cached_or_built(trt, spec, options, want, progress, rebuild)
    except BaseException:
        session.close()
        raise
    engine = TensorRtEngine(trt, session, data, spec, options.max_batch)
    try:
        _check(engine, data)
    except BaseException as error:
        engine.close()
        if plan is None and isinstance(error, parity.DisagreementError):
            PlanCache().refuse(_name(spec, options), str(error))
        raise
    return engine


def _name(spec: ModelSpec, options: BuildOptions) -> str:
    return plan_name(spec.path, spec.precision, options.max_batch, options.dla_core)


def _explicit(path: Path, want: Fingerprint) -> bytes:
    found = load_plan(path, want)
    if found.plan is None:
        raise EngineError(f'{path}: cannot be used here ({found.reason}); build it again with `seg_perception build`')
    return _accepted(found)


def _cached_or_built(
    trt: TensorRt,
    spec: ModelSpec,
    options: BuildOptions,
    want: Fingerprint,
    progress: ProgressFn | None,
    rebuild: bool,
) -> bytes:
    cache = PlanCache()
    name = _name(spec, options)
    with cache.lock(name):  # a second process waits here, and then finds what the first has built
        found = cache.load(name, want)
        if found.plan is not None and not rebuild:
            return _accepted(found)
        LOG.warning('building the TensorRT plan of %s: %s', spec.path, found.reason or 'asked to')
        built = build(trt, read_model(spec.path), spec, options, progress)
        LOG.warning('built in %.0f s, %.1f MB', built.seconds, len(built.data) / 1e6)
        try:
            cache.store(name, built.data, want, {'model': str(spec.path), 'network': built.network.describe()})
        except EngineError as error:
            LOG.warning('%s; it will be built again at the next start', error)
        return built.data


def _accepted(found: Lookup) -> bytes:
    if found.refused or found.plan is None:
        raise EngineError(f'at an earlier start: {found.refused}')
    return found.plan


def _check(engine: TensorRtEngine, plan: bytes) -> None:
    asked = engine.spec.precision
    if engine.achieved.missed(asked):
        LOG.warning('the plan misses its precision: asked for %s, got %s', asked, engine.achieved.describe())
    LOG.info('%s: %s', engine.spec.path, engine.achieved.describe())
    reference = OnnxRuntimeEngine(engine.spec.path, device='cpu')
    try:
        parity.check(engine, reference, parity.reference_frame(engine.spec.path))
    finally:
        reference.close()
    key = hashlib.sha256(plan).hexdigest()[:12]
    engine.info = engine.info._replace(fingerprint=f'{engine.spec.sha256[:12]} plan {key}')
