"""ONNX Runtime: the engine where there is no TensorRT, on CUDA when its provider is installed, else on the CPU."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from seg_perception.engine.base import EngineInfo, Prediction
from seg_perception.errors import EngineError, ModelError
from seg_perception.model import METADATA_KEY, ModelSpec, parse_metadata

ORT_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NoSuchFile,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)


def read_model(path: Path) -> bytes:
    """Read a model file.

    Raises:
        ModelError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f'{path}: cannot read the model ({error.strerror}); give the path of an exported .onnx'
        ) from error


def read_spec(path: Path) -> ModelSpec:
    """Read sizes, classes and metadata of an ONNX file and check its inputs and outputs against the contract.

    Raises:
        ModelError: unreadable, not an ONNX graph, foreign inputs or outputs, or no metadata.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    data = read_model(path)
    return _spec(path, data, _session(path, data, options, ['CPUExecutionProvider']))


def _session(path: Path, data: bytes, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except ORT_ERRORS as error:
        text = str(error).splitlines()[0][:200]
        raise ModelError(f'{path}: ONNX Runtime cannot load it ({text}); export it again') from error


def _spec(path: Path, data: bytes, session: ort.InferenceSession) -> ModelSpec:
    found = {a.name: (a.type, a.shape) for a in (*session.get_inputs(), *session.get_outputs())}
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    spec = parse_metadata(path, text, hashlib.sha256(data).hexdigest())
    h, w = spec.input_height, spec.input_width
    expected = {'image': [h, w, 3], 'labels': [h, w], 'confidence': [h, w]}
    for name, shape in expected.items():
        if name not in found or found[name][0] != 'tensor(uint8)' or list(found[name][1][1:]) != shape:
            raise ModelError(
                f'{path}: `{name}` is {found.get(name, "absent")}; expected tensor(uint8) [N, {", ".join(map(str, shape))}]; '
                'export it with `seg_perception export`'
            )
    if len(found) != len(expected):
        raise ModelError(f'{path}: inputs and outputs are {sorted(found)}; expected {sorted(expected)}')
    return spec


class OnnxRuntimeEngine:
    """Runs a model with ONNX Runtime; see `seg_perception.engine.base.Engine`."""

    def __init__(
        self, path: Path, *, max_batch: int = 1, device: str = 'auto', threads: int = 0, reason: str = ''
    ) -> None:
        """Open `path`.

        Args:
            device: 'cpu', 'cuda', or 'auto' for CUDA when the provider works, else the CPU.
            threads: intra-op threads; 0 lets ONNX Runtime take one per core.

        Raises:
            ModelError: the file does not follow the contract.
            EngineError: CUDA was asked for and is not available.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        providers = _providers(device)
        data = read_model(path)
        self._session = _session(path, data, options, providers)
        self.spec = _spec(path, data, self._session)
        self.max_batch = max_batch
        used = self._session.get_providers()[0]
        if device == 'cuda' and used != 'CUDAExecutionProvider':
            raise EngineError(
                'CUDA was asked for but ONNX Runtime fell back to the CPU; install onnxruntime-gpu and its CUDA'
            )
        self.info = EngineInfo(
            backend='onnxruntime',
            device='cuda' if used == 'CUDAExecutionProvider' else 'cpu',
            precision=self.spec.precision,
            fingerprint=self.spec.sha256[:12],
            reason=reason,
        )
        h, w = self.spec.input_height, self.spec.input_width
        self._input = np.zeros((max_batch, h, w, 3), np.uint8)
        self._labels = np.zeros((max_batch, h, w), np.uint8)
        self._confidence = np.zeros((max_batch, h, w), np.uint8)
        self._bindings = {n: self._bind(n) for n in range(1, max_batch + 1)}

    def _bind(self, n: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, array in (('labels', self._labels), ('confidence', self._confidence)):
            binding.bind_output(name, 'cpu', 0, np.uint8, array[:n].shape, array.ctypes.data)
        binding.bind_input('image', 'cpu', 0, np.uint8, self._input[:n].shape, self._input.ctypes.data)
        return binding

    def input(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the input memory for `n` frames."""
        return self._input[:n]

    def infer(self, n: int) -> Prediction:
        """Run the first `n` frames of the input memory."""
        try:
            self._session.run_with_iobinding(self._bindings[n])
        except ORT_ERRORS as error:
            raise EngineError(f'ONNX Runtime failed on {n} frames: {str(error).splitlines()[0][:200]}') from error
        return Prediction(self._labels[:n], self._confidence[:n])

    def close(self) -> None:
        """Release the session."""
        self._bindings.clear()


def _providers(device: str) -> list[str]:
    available = ort.get_available_providers()
    if device == 'cpu' or (device == 'auto' and 'CUDAExecutionProvider' not in available):
        return ['CPUExecutionProvider']
    if 'CUDAExecutionProvider' not in available:
        raise EngineError(f'CUDA was asked for; ONNX Runtime here has {available}; install onnxruntime-gpu')
    return ['CUDAExecutionProvider', 'CPUExecutionProvider']
