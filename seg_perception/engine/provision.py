"""From a model's path to a checked TensorRT engine: its plan from the cache, or built on the spot."""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
from pathlib import Path

from seg_perception.engine import parity, siblings, trt_api
from seg_perception.engine.cache import Fingerprint, Lookup, PlanCache, load_plan, plan_name, store_plan
from seg_perception.engine.cuda import Gpu, Session
from seg_perception.engine.onnxrt import OnnxRuntimeEngine, read_model, read_spec
from seg_perception.engine.plan import BuildOptions, build
from seg_perception.engine.tensorrt import TensorRtEngine
from seg_perception.engine.trt_api import TensorRt
from seg_perception.engine.trt_progress import ProgressFn
from seg_perception.errors import EngineError
from seg_perception.model import ModelSpec

LOG = logging.getLogger(__name__)

_OPENING = threading.Lock()
"""TensorRT holds locks of its own while it calls the logger, which needs Python's; two threads that open engines at
once can wait for each other for ever. So they open them one after the other."""


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
    save_to: Path | None = None,
) -> TensorRtEngine:
    """Open `model` on the GPU: take its plan from the cache, build it when there is none that fits, and check it.

    Args:
        plan: a plan at an explicit path instead of the cache; it is never rebuilt.
        rebuild: build even when the cached plan fits.
        save_to: write the checked plan and its fingerprint here too, to be given as `plan` on machines of the kind.

    Raises:
        ModelError: the file does not follow the contract.
        EngineError: no TensorRT, no GPU, a graph that TensorRT refuses, or a plan that labels wrongly.
    """
    with _OPENING:
        return _open(model, options, plan, progress, rebuild, save_to)


def _open(
    model: Path,
    options: BuildOptions,
    plan: Path | None,
    progress: ProgressFn | None,
    rebuild: bool,
    save_to: Path | None,
) -> TensorRtEngine:
    session = Session()  # first, because a missing GPU is the most usual reason and the quickest to find
    engine = None
    try:
        trt = trt_api.load()
        model = siblings.for_tensorrt(model)
        spec = read_spec(model)
        want = fingerprint(trt, session.gpu, spec, options)
        if plan is not None:
            data = _explicit(plan, want)
        else:
            data = _cached_or_built(trt, spec, options, want, progress, rebuild)
        engine = TensorRtEngine(trt, session, data, spec, options.max_batch, options.dla_core)
        _check(engine, data)
        if save_to is not None:
            store_plan(save_to, data, want, {'model': str(spec.path)})
    except BaseException as error:
        # The traceback holds TensorRT's objects, which must be gone before their CUDA context is.
        traceback.clear_frames(error.__traceback__)
        (engine or session).close()
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
    # The same file, because the question is whether the plan computes what the graph says; how good the graph is,
    # its model card tells.
    reference = OnnxRuntimeEngine(engine.spec.path, device='cpu', exact=True)
    try:
        parity.check(engine, reference, parity.reference_frame(engine.spec.path))
    finally:
        reference.close()
    key = hashlib.sha256(plan).hexdigest()[:12]
    engine.info = engine.info._replace(fingerprint=f'{engine.spec.sha256[:12]} plan {key}')
