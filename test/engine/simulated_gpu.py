"""A simulated GPU with pycuda's driver on it, every call counted and breakable.

What pycuda refuses is refused here; its sources of 2022.1 to 2026.1 were read for it.
"""

from __future__ import annotations

import itertools
import threading
import types

import numpy as np


class SimulatedGpu:
    """What the simulated pycuda and TensorRT share: memory by address, open contexts, and which call shall fail."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.contexts: dict[int, int] = {}
        self.retained = 0
        self.fail_at = ''
        self.integrated = 0
        self.builds = 0
        self.built_for_dla = False
        self.stale_timings = False
        self.runtimes: list = []
        self.streams: dict[int, object] = {}
        self.live_engines = 0
        self.waits = 0
        self.wrong_labels = False
        self.inspector = '{"Layers": []}'
        self._addresses = itertools.count(1 << 20, 1 << 20)
        self.driver = self._pycuda()
        self.tensorrt: types.ModuleType | None = None

    def call(self, name: str) -> None:
        """Fail when this call was chosen to; refuse a thread without a context."""
        if self.fail_at == name:
            driver = self.driver
            if name in ('mem_alloc', 'pagelocked_empty'):
                raise driver.MemoryError(f'{name} failed: out of memory')
            if name == 'init':
                raise driver.RuntimeError('cuInit failed: no CUDA-capable device is detected')
            raise driver.LaunchError(f'{name} failed: unspecified launch failure')
        if name not in ('init', 'Device', 'retain', 'push'):
            assert self.contexts.get(threading.get_ident()), f'{name} without a current context'

    def leaks(self) -> dict:
        """Return all that is still held; {} when nothing leaked."""
        held = {
            'memory': len(self.memory),
            'contexts': sum(self.contexts.values()),
            'engines': self.live_engines,
        }
        return {name: count for name, count in held.items() if count}

    def allocate(self, size: int) -> int:
        address = next(self._addresses)
        self.memory[address] = np.zeros(size, np.uint8)
        return address

    def _pycuda(self) -> types.ModuleType:
        gpu, cuda = self, types.ModuleType('pycuda.driver')
        cuda.Error = type('Error', (Exception,), {})
        for name in ('MemoryError', 'LogicError', 'LaunchError', 'RuntimeError'):
            setattr(cuda, name, type(name, (cuda.Error,), {}))

        class Allocation:
            def __init__(self, size: int) -> None:
                self.address = gpu.allocate(size)

            def __int__(self) -> int:
                return self.address

            def free(self) -> None:
                gpu.call('free')
                if gpu.memory.pop(self.address, None) is None:
                    raise cuda.LogicError('free failed: invalid resource handle')

        class HostAllocation(Allocation):
            def __init__(self, shape: tuple) -> None:
                super().__init__(int(np.prod(shape)))
                self.data = data = gpu.memory[self.address]
                self.__array_interface__ = {**data.__array_interface__, 'shape': tuple(shape), 'strides': None}

            def get_device_pointer(self) -> int:
                gpu.call('get_device_pointer')
                return self.address

        class Context:
            def push(self) -> None:
                gpu.call('push')
                gpu.contexts[threading.get_ident()] = gpu.contexts.get(threading.get_ident(), 0) + 1

            @staticmethod
            def pop() -> None:
                if not gpu.contexts.get(threading.get_ident()):
                    raise cuda.LogicError(
                        'context::pop failed: invalid device context - cannot pop non-current context'
                    )
                gpu.contexts[threading.get_ident()] -= 1

        class Device:
            def __init__(self, index: int) -> None:
                gpu.call('Device')

            def name(self) -> str:
                return 'Simulated GPU'

            def compute_capability(self) -> tuple:
                return 8, 7

            def get_attribute(self, attribute: str) -> int:
                return gpu.integrated

            def retain_primary_context(self) -> Context:
                gpu.call('retain')
                gpu.retained += 1
                return Context()

        class Stream:
            def __init__(self) -> None:
                gpu.call('Stream')
                self.queue: list = []
                self.handle = 7 + len(gpu.streams)
                gpu.streams[self.handle] = self

            def synchronize(self) -> None:
                gpu.call('stream')
                while self.queue:
                    self.queue.pop(0)()

        class Event:
            def __init__(self, flags: int = 0) -> None:
                gpu.call('Event')

            def record(self, stream: Stream) -> None:
                self.stream = stream

            def synchronize(self) -> None:
                gpu.call('synchronize')
                gpu.waits += 1
                self.stream.synchronize()

            def time_since(self, start: Event) -> float:
                return 1.5

        def pagelocked_empty(shape: tuple, dtype: type, mem_flags: int = 0) -> np.ndarray:
            gpu.call('pagelocked_empty')
            return np.asarray(HostAllocation(shape))

        def mem_alloc(size: int) -> Allocation:
            gpu.call('mem_alloc')
            return Allocation(size)

        def check_copy(device: int, host: np.ndarray) -> None:
            assert type(device) is int
            assert host.flags.c_contiguous
            assert any(np.shares_memory(host, memory) for memory in gpu.memory.values()), 'no page-locked memory'
            assert host.nbytes <= gpu.memory[device].size

        def memcpy_htod_async(device: int, host: np.ndarray, stream: Stream) -> None:
            gpu.call('memcpy_htod_async')
            check_copy(device, host)
            stream.queue.append(lambda: gpu.memory[device].__setitem__(slice(host.nbytes), host.ravel()))

        def memcpy_dtoh_async(host: np.ndarray, device: int, stream: Stream) -> None:
            gpu.call('memcpy_dtoh_async')
            check_copy(device, host)
            stream.queue.append(lambda: host.ravel().__setitem__(slice(None), gpu.memory[device][: host.nbytes]))

        cuda.init = lambda: gpu.call('init')
        cuda.mem_get_info = lambda: ((1 << 30) - sum(m.size for m in gpu.memory.values()), 1 << 30)
        cuda.get_version = lambda: (12, 6, 0)
        cuda.get_driver_version = lambda: 12060
        cuda.device_attribute = types.SimpleNamespace(INTEGRATED='integrated')
        cuda.event_flags = types.SimpleNamespace(BLOCKING_SYNC=1)
        cuda.host_alloc_flags = types.SimpleNamespace(DEVICEMAP=2)
        for thing in (
            Context,
            Device,
            Stream,
            Event,
            pagelocked_empty,
            mem_alloc,
            memcpy_htod_async,
            memcpy_dtoh_async,
        ):
            setattr(cuda, thing.__name__, thing)
        return cuda
