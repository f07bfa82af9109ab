"""A simulated GPU: pycuda's driver and TensorRT's runtime, with every call counted and breakable."""

from __future__ import annotations

import itertools
import threading
import types

import numpy as np
import onnxruntime as ort
import tensorrt_rtx_bindings as real


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
        self.smallest_batch = 1
        self.runtimes: list = []
        self.streams: dict[int, object] = {}
        self.live_engines = 0
        self.waits = 0
        self.wrong_labels = False
        self.inspector = '{"Layers": []}'
        self._addresses = itertools.count(1 << 20, 1 << 20)
        self.driver = self._pycuda()
        self.tensorrt = _tensorrt(self)

    def call(self, name: str) -> None:
        """Fail when this call was chosen to; refuse a thread without a context."""
        if self.fail_at == name:
            kind = self.driver.MemoryError if name in ('mem_alloc', 'pagelocked_empty') else self.driver.LogicError
            raise kind(
                f'{name} failed: '
                + ('out of memory' if kind is self.driver.MemoryError else 'unspecified launch failure')
            )
        if name not in ('init', 'Device', 'retain', 'push', 'detach'):
            assert self.contexts.get(threading.get_ident()), f'{name} without a current context'

    def leaks(self) -> dict:
        """Return all that is still held; {} when nothing leaked."""
        held = {
            'memory': len(self.memory),
            'contexts': sum(self.contexts.values()),
            'retained': self.retained,
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
        cuda.MemoryError = type('MemoryError', (cuda.Error,), {})
        cuda.LogicError = type('LogicError', (cuda.Error,), {})

        class Allocation:
            def __init__(self, size: int) -> None:
                self.address = gpu.allocate(size)

            def __int__(self) -> int:
                return self.address

            def free(self) -> None:
                gpu.call('free')
                del gpu.memory[self.address]

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
                gpu.contexts[threading.get_ident()] -= 1

            def detach(self) -> None:
                gpu.retained -= 1

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

        class Event:
            def __init__(self, flags: int = 0) -> None:
                gpu.call('Event')

            def record(self, stream: Stream) -> None:
                self.stream = stream

            def synchronize(self) -> None:
                gpu.call('synchronize')
                gpu.waits += 1
                while self.stream.queue:
                    self.stream.queue.pop(0)()

            def time_since(self, start: Event) -> float:
                return 1.5

        def pagelocked_empty(shape: tuple, dtype: type, mem_flags: int = 0) -> np.ndarray:
            gpu.call('pagelocked_empty')
            return np.asarray(HostAllocation(shape))

        def mem_alloc(size: int) -> Allocation:
            gpu.call('mem_alloc')
            return Allocation(size)

        def memcpy_htod_async(device: int, host: np.ndarray, stream: Stream) -> None:
            gpu.call('memcpy_htod_async')
            stream.queue.append(lambda: gpu.memory[device].__setitem__(slice(host.nbytes), host.ravel()))

        def memcpy_dtoh_async(host: np.ndarray, device: int, stream: Stream) -> None:
            gpu.call('memcpy_dtoh_async')
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


def _tensorrt(gpu: SimulatedGpu) -> types.ModuleType:
    """TensorRT-RTX's real parser and builder configuration; plans that hold the ONNX file, run by ONNX Runtime."""
    trt = types.ModuleType('tensorrt')
    trt.__version__ = '10.3.0'
    for name in (
        'ILogger',
        'IProgressMonitor',
        'NetworkDefinitionCreationFlag',
        'ProfilingVerbosity',
        'MemoryPoolType',
        'DeviceType',
        'BuilderFlag',
        'LayerInformationFormat',
        'ComputeCapability',
        'CudaGraphStrategy',
    ):
        setattr(trt, name, getattr(real, name))

    class OnnxParser:
        def __init__(self, network: object, logger: object) -> None:
            self._parser = real.OnnxParser(network, logger)

        def parse(self, model: bytes) -> bool:
            gpu.parsed = model
            return self._parser.parse(model)

        def __getattr__(self, name: str) -> object:
            return getattr(self._parser, name)

    class Builder:
        num_DLA_cores = 2  # noqa: N815 - NVIDIA's name

        def __init__(self, logger: object) -> None:
            self._builder = real.Builder(logger)

        def __getattr__(self, name: str) -> object:
            return getattr(self._builder, name)

        def build_serialized_network(self, network: object, config: object) -> bytes | None:
            gpu.builds += 1
            gpu.built_for_dla = config.default_device_type == real.DeviceType.DLA
            return None if gpu.fail_at == 'build' else b'PLAN' + gpu.parsed

    class Context:
        def __init__(self, session: ort.InferenceSession) -> None:
            self.session, self.addresses, self.shape = session, {}, None

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def set_input_shape(self, name: str, shape: tuple) -> bool:
            self.shape = shape
            return gpu.fail_at != 'set_input_shape'

        def execute_async_v3(self, handle: int) -> bool:
            if gpu.fail_at == 'execute':
                return False
            gpu.streams[handle].queue.append(self.execute)
            return True

        def execute(self) -> None:
            size = int(np.prod(self.shape))
            image = gpu.memory[self.addresses['image']][:size].reshape(self.shape)
            outputs = dict(
                zip(('labels', 'confidence'), self.session.run(['labels', 'confidence'], {'image': image}), strict=True)
            )
            if gpu.wrong_labels:
                outputs['labels'] = (outputs['labels'] + 1) % 6
            for name, value in outputs.items():
                gpu.memory[self.addresses[name]][: value.size] = value.ravel()

    class Engine:
        def __init__(self, plan: bytes) -> None:
            self.session = ort.InferenceSession(plan[4:], providers=['CPUExecutionProvider'])
            gpu.live_engines += 1

        def __del__(self) -> None:
            assert gpu.contexts.get(threading.get_ident()), 'engine destroyed after its context'
            gpu.live_engines -= 1

        def get_tensor_profile_shape(self, name: str, profile: int) -> list:
            return [(gpu.smallest_batch, 32, 48, 3)] * 3

        def create_execution_context(self) -> Context | None:
            return None if gpu.fail_at == 'create_execution_context' else Context(self.session)

        def create_engine_inspector(self) -> types.SimpleNamespace:
            return types.SimpleNamespace(get_engine_information=lambda form: gpu.inspector)

    class Runtime:
        def __init__(self, logger: object) -> None:
            self.logger = logger
            gpu.runtimes.append(self)

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            assert plan.startswith(b'PLAN'), 'a damaged plan reached TensorRT'
            if gpu.fail_at == 'deserialize':
                self.logger.log(real.ILogger.ERROR, 'IRuntime::deserializeCudaEngine: Error Code 1: out of memory')
                return None
            return Engine(plan)

    for thing in (OnnxParser, Builder, Runtime):
        setattr(trt, thing.__name__, thing)
    return trt
