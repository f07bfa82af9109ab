"""CUDA through pycuda: one context, one stream, and the buffers that live as long as the engine.

This is the only module that imports pycuda. Everything here is used by the thread that opened it, because a
CUDA context is current in one thread. Where CPU and GPU share their memory (Jetson), host buffers are mapped
into the GPU's address space and nothing is copied.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import NotInstalledError
from seg_perception.engine.trt_messages import explain
from seg_perception.errors import EngineError


class Gpu(NamedTuple):
    """The GPU and its driver, as the fingerprint and the reports need them."""

    name: str
    compute_capability: str
    cuda: str
    """Toolkit that pycuda was built with, e.g. '12.6.0'."""
    driver: str
    """Highest CUDA that the driver supports, e.g. '12.8'."""


class Buffer(NamedTuple):
    """Page-locked host memory with its counterpart on the GPU."""

    host: npt.NDArray[np.uint8]
    """To be read and written by the CPU; invalid after `Session.close`."""
    device: int
    """Address for the GPU: of its own memory, or of `host` itself where that is mapped."""


class Session:
    """The GPU's primary context with one stream; frees what it allocated, in reverse order, on `close`.

    `close` is called in the thread that opened the session: pycuda ends the process when a thread ends with a
    context on its stack.
    """

    def __init__(self) -> None:
        """Take the primary context of the first GPU, which TensorRT's own CUDA runtime uses as well.

        Raises:
            EngineError: pycuda is missing, or there is no usable driver or GPU.
        """
        self._cuda = cuda = _import_pycuda()
        self._thread = threading.get_ident()
        self._release: list[Any] = []
        try:
            with self.phase('open the GPU'):
                cuda.init()
                gpu = cuda.Device(0)
                _primary_context(cuda).push()
                self._release.append(cuda.Context.pop)
                self.mapped = bool(gpu.get_attribute(cuda.device_attribute.INTEGRATED))
                self.stream = cuda.Stream()
                # Blocking, because the default spins and takes a whole core from the camera drivers.
                self._done = cuda.Event(cuda.event_flags.BLOCKING_SYNC)
                self.gpu = Gpu(
                    gpu.name(),
                    '.'.join(map(str, gpu.compute_capability())),
                    '.'.join(map(str, cuda.get_version())),
                    _version(cuda.get_driver_version()),
                )
        except BaseException:
            self.close()
            raise

    def allocate(self, shape: tuple[int, ...]) -> Buffer:
        """Allocate a zeroed uint8 buffer on both sides.

        Raises:
            EngineError: out of memory.
        """
        cuda = self._cuda
        with self.phase(f'allocate {np.prod(shape) / 1e6:.1f} MB'):
            flags = cuda.host_alloc_flags.DEVICEMAP if self.mapped else 0
            host = cuda.pagelocked_empty(shape, np.uint8, mem_flags=flags)
            self._release.append(host.base.free)
            host.fill(0)
            if self.mapped:
                return Buffer(host, int(host.base.get_device_pointer()))
            device = cuda.mem_alloc(host.nbytes)
            self._release.append(device.free)
            return Buffer(host, int(device))

    def upload(self, buffer: Buffer, n: int) -> None:
        """Queue the copy of the first `n` items to the GPU; nothing to do where memory is shared."""
        if not self.mapped:
            self._cuda.memcpy_htod_async(buffer.device, buffer.host[:n], self.stream)

    def download(self, buffer: Buffer, n: int) -> None:
        """Queue the copy of the first `n` items from the GPU; nothing to do where memory is shared."""
        if not self.mapped:
            self._cuda.memcpy_dtoh_async(buffer.host[:n], buffer.device, self.stream)

    def wait(self) -> None:
        """Sleep until everything queued is done."""
        self._done.record(self.stream)
        self._done.synchronize()

    def timer(self) -> Any:
        """Return a new CUDA event: `record(stream)`, `synchronize()`, and `time_since(event)` in milliseconds."""
        with self.phase('create an event'):
            return self._cuda.Event()

    def free_bytes(self) -> int:
        """Return the GPU memory that is free now, for all programs."""
        with self.phase('ask for free memory'):
            return int(self._cuda.mem_get_info()[0])

    def check_thread(self) -> None:
        """Refuse a foreign thread, in which calls would reach another context or none.

        Raises:
            EngineError: this is not the thread that opened the session.
        """
        if threading.get_ident() != self._thread:
            raise EngineError('the TensorRT engine was opened in another thread; open and use it in one thread')

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Turn pycuda's errors into an EngineError that says what was being done."""
        try:
            yield
        except self._cuda.Error as error:
            raise EngineError(explain(f'CUDA cannot {what}', str(error) or type(error).__name__)) from error

    @property
    def is_open(self) -> bool:
        """Whether there is something to free."""
        return bool(self._release)

    def settle(self) -> None:
        """Wait for what a run that failed half-way has left in the stream; nothing it uses may be freed before."""
        if self._release and self.stream is not None:
            with suppress(self._cuda.Error):
                self.stream.synchronize()

    def close(self) -> None:
        """Free everything; calling it twice is allowed. Errors are ignored: after a device failure all calls fail."""
        self.stream = self._done = None
        while self._release:
            with suppress(self._cuda.Error):
                self._release.pop()()


@functools.lru_cache
def _primary_context(cuda: Any) -> Any:
    """Retain the primary context for as long as the process lives, as CUDA's runtime does.

    Were it released on `close`, pycuda would leave the destroyed context current in the thread, and TensorRT, whose
    kernels are loaded in it, would be opened again in another one.
    """
    return cuda.Device(0).retain_primary_context()


def _import_pycuda() -> Any:
    try:
        return importlib.import_module('pycuda.driver')
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and str(error.name).split('.')[0] == 'pycuda':
            raise NotInstalledError(
                'pycuda is not installed; run `pip install pycuda` (it needs the CUDA toolkit)'
            ) from error
        raise EngineError(
            f'pycuda cannot be loaded ({error}); check the NVIDIA driver (`nvidia-smi`), and install pycuda again '
            'when CUDA or NumPy was updated'
        ) from error


def _version(number: int) -> str:
    return f'{number // 1000}.{number % 1000 // 10}'
