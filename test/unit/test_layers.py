"""The core imports neither ROS nor an engine nor torch nor the bag library: importing it shows that, not reading it."""

import subprocess
import sys

import pytest

import seg_perception.pipeline
import seg_perception.scene  # noqa: F401  a first import says that it compiles, which no test below expects

FORBIDDEN = (
    'rclpy',
    'tensorrt',
    'tensorrt_rtx_bindings',
    'pycuda',
    'onnxruntime',
    'onnx',
    'torch',
    'rosbags',
    'sensor_msgs',
)
CORE = (
    'errors',
    'labels',
    'distortion',
    'camera',
    'compiled',
    'frames',
    'model',
    'postprocess',
    'draw',
    'grid',
    'metrics',
    'scene',
    'pipeline',
    'things',
    'engine',
    'engine.base',
    'engine.fake',
    'paths',
    'cli',
)


@pytest.mark.parametrize('module', CORE)
def test_a_core_module_brings_in_no_ros_engine_or_torch(module: str) -> None:
    code = f'import sys, seg_perception.{module}; print([m for m in {FORBIDDEN} if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, '[]', '')
