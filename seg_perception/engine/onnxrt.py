"""ONNX Runtime: the engine where there is no TensorRT, on CUDA when its provider is installed, else on the CPU."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from seg_perception.engine import siblings
from seg_perception.engine.base import EngineInfo, Prediction, check_batch
from seg_perception.errors import ConfigError, EngineError, ModelError, first_line
from seg_perception.model import METADATA_KEY, ModelSpec, parse_metadata

LOG = logging.getLogger(__name__)
_STATE = ort.capi.onnxruntime_pybind11_state
ORT_ERRORS = (
    _STATE.Fail,
    _STATE.InvalidArgument,
    _STATE.InvalidGraph,
    _STATE.InvalidProtobuf,
    _STATE.NoModel,
    _STATE.NoSuchFile,
    _STATE.NotImplemented,
    _STATE.RuntimeException,
)
CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'


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
    return _spec(path, data, _session(path, data, options, [CPU]))


def _session(path: Path, data: bytes, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except ORT_ERRORS as error:
        raise ModelError(f'{path}: ONNX Runtime cannot load it ({first_line(error)}); export it again') from error


def _spec(path: Path, data: bytes, session: ort.InferenceSession) -> ModelSpec:
    found = {a.name: (a.type, a.shape) for a in (*session.get_inputs(), *session.get_outputs())}
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    spec = parse_metadata(path, text, hashlib.sha256(data).hexdigest())
    h, w = spec.input_height, spec.input_width
    expected = {'image': [h, w, 3], 'labels': [h, w], 'confidence': [h, w]}
    for name, size in expected.items():
        kind, shape = found.get(name, ('absent', [0]))
        # A batch that is a number is fixed; a dynamic one is a name or None.
        if kind != 'tensor(uint8)' or list(shape[1:]) != size or isinstance(shape[0], int):
            raise ModelError(
                f'{path}: `{name}` is {found.get(name, "absent")}; expected tensor(uint8) '
                f'[N, {", ".join(map(str, size))}] with any N; export it with `seg_perception export`'
            )
    if len(found) != len(expected):
        raise ModelError(f'{path}: inputs and outputs are {sorted(found)}; expected {sorted(expected)}')
    return spec


class OnnxRuntimeEngine:
    """Runs a model with ONNX Runtime; see `seg_perception.engine.base.Engine`."""

    def __init__(
        self,
        path: Path,
        *,
        max_batch: int = 1,
        device: str = 'auto',
        threads: int = 0,
        reason: str = '',
        exact: bool = False,
    ) -> None:
        """Open `path`, or the sibling of it that suits the device (`seg_perception.engine.siblings`).

        Args:
            exact: open `path` itself in any case.
            device: 'cpu', 'cuda', or 'auto' for CUDA when the provider works, else the CPU.
            threads: intra-op threads; 0 lets ONNX Runtime take one per core.
            reason: why this backend was taken, for `info`.

        Raises:
            ModelError: the file does not follow the contract.
            EngineError: CUDA was asked for and is not available.
            ConfigError: an argument is out of range.
        """
        if max_batch < 1 or threads < 0 or device not in ('auto', 'cpu', 'cuda'):
            raise ConfigError(
                f'max_batch {max_batch}, threads {threads}, device {device!r}; expected 1 or more, 0 or more, '
                'and auto, cpu or cuda'
            )
        self.max_batch = max_batch
        self._session, self.spec, used = _open(path, device, threads, exact)
        self.info = EngineInfo('onnxruntime', used, self.spec.precision, self.spec.sha256[:12], reason)
        h, w = self.spec.input_height, self.spec.input_width
        self._input = np.zeros((max_batch, h, w, 3), np.uint8)
        self._labels = np.zeros((max_batch, h, w), np.uint8)
        self._confidence = np.zeros((max_batch, h, w), np.uint8)
        self._bindings = {n: self._bind(n) for n in range(1, max_batch + 1)}

    def _bind(self, n: int) -> ort.IOBinding:
        binding = self._session.io_binding()
        for name, array in (('labels', self._labels), ('confidence', self._confidence)):
            binding.bind_output(name, 'cpu', 0, np.uint8, array[:n].shape, array.ctypes.data)
        return binding

    def input(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the input memory for `n` frames."""
        check_batch(n, self.max_batch)
        return self._input[:n]

    def infer(self, n: int) -> Prediction:
        """Run the first `n` frames of the input memory.

        Raises:
            EngineError: ONNX Runtime failed, the batch is too large, or the engine is closed.
        """
        check_batch(n, self.max_batch)
        if not self._bindings:
            raise EngineError(f'{self.spec.path}: the engine is closed; open it again')
        binding = self._bindings[n]
        try:
            # Binding is what copies the input to a GPU; bound once, every frame would be the first one.
            binding.bind_input('image', 'cpu', 0, np.uint8, self._input[:n].shape, self._input.ctypes.data)
            self._session.run_with_iobinding(binding)
        except ORT_ERRORS as error:
            raise EngineError(f'ONNX Runtime failed on {n} frames: {first_line(error)}') from error
        return Prediction(self._labels[:n], self._confidence[:n])

    def close(self) -> None:
        """Release the session and its memory; calling it twice is allowed."""
        self._bindings.clear()
        self._session = None


def _open(path: Path, device: str, threads: int, exact: bool) -> tuple[ort.InferenceSession, ModelSpec, str]:
    """Return session, spec and the device that is used, 'cuda' or 'cpu'."""
    available = CUDA in ort.get_available_providers()
    if device == 'cuda' and not available:
        raise EngineError(
            f'CUDA was asked for; ONNX Runtime here has {ort.get_available_providers()}; install onnxruntime-gpu'
        )
    if available and device != 'cpu':
        file = path if exact else siblings.for_onnxruntime(path, on_cpu=False)
        data = read_model(file)
        try:
            session = _session(file, data, _options(threads), [CUDA, CPU])
            if session.get_providers()[0] == CUDA:
                return session, _spec(file, data, session), 'cuda'
            problem = 'it fell back to the CPU'
        except ModelError as error:
            problem = str(error)
        if device == 'cuda':
            raise EngineError(f'CUDA was asked for and ONNX Runtime cannot use it ({problem}); check CUDA and cuDNN')
        LOG.warning('ONNX Runtime cannot use CUDA, so the CPU runs %s: %s', path.name, problem)
    file = path if exact else siblings.for_onnxruntime(path, on_cpu=True)
    data = read_model(file)
    session = _session(file, data, _options(threads), [CPU])
    return session, _spec(file, data, session), 'cpu'


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Waiting threads that spin take the cores which the camera drivers and DDS need: without spinning a frame cost
    # half the CPU time, and on a busy 2-core machine came back sooner.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return options
