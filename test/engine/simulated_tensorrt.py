"""TensorRT on a simulated GPU: TensorRT-RTX's real parser, and plans that hold the ONNX file, run by ONNX Runtime.

What TensorRT refuses is refused here; its Python bindings of 10.0, 10.3, 10.7, 10.13, 11.0 and 11.4 were tried and
their sources read for it.
"""

from __future__ import annotations

import struct
import threading
import types
from typing import Any

import numpy as np
import onnxruntime as ort
import tensorrt_rtx_bindings as real

NULLPTR = 'pybind11::init(): factory function returned nullptr'
"""What the bindings raise when TensorRT cannot make a Builder or a Runtime."""


def simulate(gpu: Any) -> types.ModuleType:
    """Return a module `tensorrt` whose plans run on a `SimulatedGpu`."""
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
        'DataType',
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
            if gpu.fail_at == 'Builder':
                raise TypeError(NULLPTR)
            self._builder = real.Builder(logger)

        def __del__(self) -> None:
            made = '_builder' in self.__dict__
            assert not made or gpu.contexts.get(threading.get_ident()), 'builder destroyed after its context'

        def __getattr__(self, name: str) -> object:
            return getattr(self._builder, name)

        def create_builder_config(self) -> Config:
            return Config(self._builder.create_builder_config())

        def create_optimization_profile(self) -> object:
            self._profile = self._builder.create_optimization_profile()
            return self._profile

        def build_serialized_network(self, network: object, config: Config) -> bytes | None:
            gpu.builds += 1
            gpu.built_for_dla = config.default_device_type == real.DeviceType.DLA
            for i in range(network.num_layers):  # conversions to uint8 are documented for floats only
                layer = network.get_layer(i)
                if layer.num_outputs and layer.get_output(0).dtype == real.DataType.UINT8:
                    assert layer.get_input(0).dtype in (real.DataType.FLOAT, real.DataType.HALF), layer.name
            smallest, _, largest = (shape[0] for shape in self._profile.get_shape('image'))
            plan = b'PLAN' + struct.pack('2I', smallest, largest) + gpu.parsed
            return None if gpu.fail_at == 'build' else plan

    class Config:
        def __init__(self, config: object) -> None:
            self.__dict__.update(_config=config, timings=None)

        def __getattr__(self, name: str) -> object:
            return getattr(self._config, name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self._config, name, value)

        def create_timing_cache(self, data: bytes) -> Timings | None:
            return None if data == b'no timing cache' else Timings(bytes(data))

        def set_timing_cache(self, cache: Timings, ignore_mismatch: bool) -> bool:
            if not isinstance(cache, Timings):
                raise TypeError('set_timing_cache(): incompatible function arguments')
            if gpu.stale_timings and cache.data and not ignore_mismatch:
                return False
            self.__dict__['timings'] = cache
            cache.attached = True
            return True

    class Timings:
        def __init__(self, data: bytes) -> None:
            self.data, self.attached = data, False

        def serialize(self) -> bytes:
            return self.data + b'+' if self.attached else self.data

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine, self.session, self.addresses, self.shape = engine, engine.session, {}, None

        def __del__(self) -> None:
            assert not any(stream.queue for stream in gpu.streams.values()), 'destroyed while it runs'

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert type(address) is int
            self.addresses[name] = address
            return name in ('image', 'labels', 'confidence')

        def set_input_shape(self, name: str, shape: tuple) -> bool:
            assert name == 'image'
            if gpu.fail_at == 'set_input_shape' or not self.engine.batches[0] <= shape[0] <= self.engine.batches[1]:
                return False
            self.shape = shape
            return True

        def execute_async_v3(self, handle: int) -> bool:
            if gpu.fail_at == 'execute' or self.shape is None or len(self.addresses) < 3:
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
            self.batches = struct.unpack_from('2I', plan, 4)
            self.session = ort.InferenceSession(plan[12:], providers=['CPUExecutionProvider'])
            gpu.live_engines += 1

        def __del__(self) -> None:
            assert gpu.contexts.get(threading.get_ident()), 'engine destroyed after its context'
            gpu.live_engines -= 1

        def get_tensor_profile_shape(self, name: str, profile: int) -> list:
            assert (name, profile) == ('image', 0)
            smallest, largest = self.batches
            return [(n, 32, 48, 3) for n in (smallest, largest, largest)]

        def create_execution_context(self) -> Context | None:
            return None if gpu.fail_at == 'create_execution_context' else Context(self)

        def create_engine_inspector(self) -> types.SimpleNamespace:
            return types.SimpleNamespace(get_engine_information=lambda form: gpu.inspector)

    class Runtime:
        def __init__(self, logger: object) -> None:
            assert isinstance(logger, real.ILogger)
            if gpu.fail_at == 'Runtime':
                logger.log(real.ILogger.ERROR, 'createInferRuntime: Error Code 6: API Usage Error (CUDA error 35)')
                raise TypeError(NULLPTR)
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
