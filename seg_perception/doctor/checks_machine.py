"""Versions, model file, TensorRT, GPU and plans."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.snapshot import MachineSnapshot, Snapshot

SUBJECT = 'machine'
REQUIRED = ('numpy', 'opencv')
OPTIONAL = {
    'tf2_ros': 'camera poses from TF need it (else: `<camera>.extrinsics`)',
    'vision_msgs': 'label_info is not published without it',
    'cv_bridge': 'plain encodings are read without it',
}


def check(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings of this machine."""
    machine = snapshot.machine
    yield _versions(machine)
    yield from _model(machine)
    yield _backend(machine, str(snapshot.node.parameters.get('backend', 'auto')))
    if machine.plan_problem:
        yield error(SUBJECT, 'plans', machine.plan_problem, 'seg_perception build --clean, then seg_perception build')
    elif machine.tensorrt and machine.gpu:
        yield _plans(machine)


def _versions(machine: MachineSnapshot) -> Finding:
    known = {name: version for name, version in machine.versions.items() if version}
    text = ', '.join(f'{name} {version}' for name, version in known.items())
    missing = [name for name in REQUIRED if not machine.versions.get(name)]
    if missing:
        return error(SUBJECT, 'versions', f'{", ".join(missing)} is not installed', 'rosdep install --from-paths src')
    if 'cv_bridge' in known and tuple(int(n) for n in known['numpy'].split('.')[:2]) >= (2, 3):
        return warning(
            SUBJECT, 'versions', f'numpy {known["numpy"]} and cv_bridge do not go together', 'pip install "numpy<2.3"'
        )
    absent = [f'no {name}: {effect}' for name, effect in OPTIONAL.items() if not machine.versions.get(name)]
    return ok(SUBJECT, 'versions', '; '.join([text, *absent]))


def _model(machine: MachineSnapshot) -> Iterator[Finding]:
    if machine.model_problem:
        yield error(
            SUBJECT,
            'model',
            machine.model_problem,
            'set the parameter `model` to an .onnx written by `seg_perception export`, or leave it empty for the '
            'shipped one',
        )
    elif machine.model_path:
        yield ok(SUBJECT, 'model', f'{machine.model_path}: {machine.model_facts}')


def _backend(machine: MachineSnapshot, policy: str) -> Finding:
    pycuda = machine.versions.get('pycuda')
    if machine.tensorrt and machine.gpu and pycuda:
        return ok(SUBJECT, 'tensorrt', f'{machine.tensorrt} on {machine.gpu}')
    absent = 'pycuda' if machine.gpu else 'NVIDIA GPU'
    lacking = machine.tensorrt_problem or f'{machine.tensorrt} is installed, but there is no {absent}'
    if policy == 'onnxruntime':
        return ok(SUBJECT, 'tensorrt', f'not used (backend is onnxruntime); {lacking}')
    if policy == 'tensorrt':
        return error(SUBJECT, 'tensorrt', f'backend is tensorrt; {lacking}', 'install it, or set backend to auto')
    return warning(
        SUBJECT,
        'tensorrt',
        f'ONNX Runtime is taken, which is slower; {lacking}',
        'install TensorRT and pycuda on a machine with an NVIDIA GPU (docs/tensorrt.md), or set backend to onnxruntime',
    )


def _plans(machine: MachineSnapshot) -> Finding:
    if machine.plans:
        return ok(SUBJECT, 'plans', '; '.join(machine.plans))
    return warning(
        SUBJECT,
        'plans',
        'no TensorRT plan of this model is cached; the first start builds it and takes minutes',
        f'seg_perception build {machine.model_path}',
    )
