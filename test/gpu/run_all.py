#!/usr/bin/env python3
"""Everything that needs a GPU, in one command and one table: `python3 test/gpu/run_all.py`.

Sets itself up where only nvcc, PyTorch and pip are: what is missing (pycuda is compiled, a minute or two) goes into
`build/gpu-site`, nothing else is touched. Exit code 3: something is not met, or could not be measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / 'build' / 'gpu-site'
NEEDED = {
    'numpy': 'numpy<2.3',
    'cv2': 'opencv-python-headless<5',
    'click': 'click',
    'filelock': 'filelock',
    'platformdirs': 'platformdirs',
    'onnx': 'onnx',
    'pytest': 'pytest<9',
    'pytest_timeout': 'pytest-timeout',
    'onnxruntime': 'onnxruntime-gpu',
    'pycuda': 'pycuda',
}
INSTEAD = {'onnxruntime-gpu': 'onnxruntime'}
"""What to take where the first has no wheel: on a Jetson the CPU's, without which no labels can be compared."""
RTX = ('tensorrt_rtx_cu13_bindings', 'tensorrt_rtx_cu13_libs')


def main() -> int:
    """Prepare, then run this file again in the prepared environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--wheels', type=Path, help='folder of carried wheels and source packages; no network is used')
    parser.add_argument('--frames', type=Path, help='folder of camera images; rendered street scenes when left out')
    parser.add_argument('--models', type=Path, default=ROOT / 'engines', help='folder of .onnx files')
    parser.add_argument('--runs', type=int, default=500, help='timed runs of each batch')
    parser.add_argument('--flat', type=int, default=10_000, help='frames of the memory test')
    arguments = parser.parse_args()
    if os.environ.get('SEG_PERCEPTION_GPU_READY') != '1':
        environment = prepare(arguments.wheels)
        return subprocess.call([sys.executable, __file__, *sys.argv[1:]], env=environment, cwd=ROOT)
    import table  # beside this file; its imports exist only now

    failed = table.run(arguments.models, arguments.frames, arguments.runs, arguments.flat)
    print('\n== contract suite and tests on the GPU', flush=True)
    # Warnings of libraries that only this machine has are no errors here.
    tests = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-p', 'no:cacheprovider', '-W', 'default']
    tests += ['test/engine', 'test/gpu']
    failed |= subprocess.call(tests, cwd=ROOT) != 0
    return 3 if failed else 0


def prepare(wheels: Path | None) -> dict[str, str]:
    """Install what is missing and return the environment in which it is found."""
    environment = dict(os.environ, SEG_PERCEPTION_GPU_READY='1')
    nvcc = shutil.which('nvcc') or next(map(str, sorted(Path('/usr/local').glob('cuda*/bin/nvcc'), reverse=True)), None)
    if nvcc:
        cuda = Path(nvcc).resolve().parents[1]
        environment.update(CUDA_ROOT=str(cuda), PATH=f'{cuda / "bin"}{os.pathsep}{environment["PATH"]}')
    sys.path.insert(0, str(SITE))
    missing = [requirement for module, requirement in NEEDED.items() if importlib.util.find_spec(module) is None]
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--target', str(SITE), *_constraints()]
    pip += ['--no-index', '--find-links', str(wheels)] if wheels else []

    def install(requirement: str) -> bool:
        print('installing', requirement, 'into', SITE, flush=True)
        return subprocess.call([*pip, requirement], env=environment) == 0

    for requirement in missing:  # one by one, so that a package which this machine cannot have stops nothing else
        other = INSTEAD.get(requirement)
        if not install(requirement) and not (other and install(other)):
            print(f'note: {requirement} could not be installed; what needs it is left out', flush=True)
    here = any(importlib.util.find_spec(m) for m in ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'))
    # The full library first: it is what a Jetson runs, and TensorRT-RTX refuses data-centre cards.
    if not here and not install(f'tensorrt-cu{_cuda_major(nvcc)}') and not all(map(install, RTX)):
        print('note: no TensorRT could be installed', flush=True)
    environment['PYTHONPATH'] = os.pathsep.join(map(str, (ROOT, SITE, *filter(None, [environment.get('PYTHONPATH')]))))
    # ONNX Runtime's CUDA provider finds cuDNN and cuBLAS in the libraries that PyTorch brings.
    libraries = [str(p) for folder in map(Path, sys.path) for p in folder.glob('nvidia/*/lib')]
    environment['LD_LIBRARY_PATH'] = os.pathsep.join([*libraries, environment.get('LD_LIBRARY_PATH', '')])
    return environment


def _constraints() -> list[str]:
    """Hold NumPy at the minor version that is there: pip copies it into the folder, which comes before the system's
    packages that were compiled for theirs. Ubuntu 22.04 has 1.21.5, and ONNX Runtime wants 1.21.6."""
    SITE.mkdir(parents=True, exist_ok=True)
    try:
        major, minor = importlib.metadata.version('numpy').split('.')[:2]
        numpy = f'numpy~={major}.{minor}.0'
    except importlib.metadata.PackageNotFoundError:
        numpy = NEEDED['numpy']
    file = SITE.with_name('gpu-constraints.txt')
    file.write_text(f'{numpy}\n', encoding='utf-8')
    return ['--constraint', str(file)]


def _cuda_major(nvcc: str | None) -> str:
    """Return the CUDA that TensorRT should be for: the toolkit's, 13 where it cannot be told."""
    text = subprocess.run([nvcc, '--version'], capture_output=True, text=True, check=False).stdout if nvcc else ''
    found = re.search(r'release (\d+)', text)
    return found[1] if found else '13'


if __name__ == '__main__':
    sys.exit(main())
