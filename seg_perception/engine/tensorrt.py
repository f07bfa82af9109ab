"""TensorRT: the engine on the vehicle's GPU. `seg_perception.engine.provision` opens it for a model."""

from __future__ import annotations

import atexit
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_perception.engine import precision, trt_api
from seg_perception.engine.base import EngineInfo, Prediction, check_batch
from seg_perception.engine.cuda import Session
from seg_perception.engine.trt_api import TensorRt
from seg_perception.engine.trt_messages import explain, started
from seg_perception.errors import EngineError
from seg_perception.model import ModelSpec


class TensorRtEngine:
    """Runs a plan; see `seg_perception.engine.base.Engine`.

    `input` is page-locked memory (on a Jetson the GPU's own view of it), so a frame written there is uploaded
    without another copy. Arrays are invalid after `close`.
    """

    def __init__(
        self,
        trt: TensorRt,
        session: Session,
        plan: bytes,
        spec: ModelSpec,
        max_batch: int,
        dla_core: int | None = None,
    ) -> None:
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
        self._logger = trt_api.get_logger(trt)
        if threading.current_thread() is threading.main_thread():
            atexit.register(self.close)  # pycuda aborts a program that ends with a context on its stack
        try:
            self._load(plan, dla_core)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes, dla_core: int | None) -> None:
        trt, session = self._trt, self._session
        with session.phase('load the plan'):
            self._runtime = started(trt.module.Runtime, self._logger, f'{self.spec.path}: {trt} cannot start')
            if dla_core is not None:
                self._runtime.DLA_core = dla_core  # core 0 otherwise, whichever the plan was built for
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

    def network_ms(self, n: int, runs: int) -> list[float]:
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

    def free_device_bytes(self) -> int:
        """Return the GPU memory that is free now, for all programs."""
        self._session.check_thread()
        return self._session.free_bytes()

    def close(self) -> None:
        """Release the plan, then all memory, then the CUDA context; calling it twice is allowed.

        Raises:
            EngineError: this is not the thread that opened the engine, in which alone its context can be left.
        """
        if self._session.is_open:
            self._session.check_thread()
        atexit.unregister(self.close)
        self._session.settle()
        # TensorRT frees its device memory in these destructors, which needs the context still current.
        self._context = None
        self._engine = None
        self._runtime = None
        self._session.close()
