"""perception.launch.py with what it cannot do: the launch fails and leaves no node behind."""

import os
import signal
from pathlib import Path

import pytest

pytest.importorskip('launch', reason="ROS's launch is not installed (it is not on PyPI)")
pytest.importorskip('launch_ros', reason="ROS's launch_ros is not installed (it is not on PyPI)")
packages = pytest.importorskip('ament_index_python.packages')
try:
    SHARE = Path(packages.get_package_share_directory('seg_perception'))
except packages.PackageNotFoundError:
    pytest.skip('seg_perception is not installed in a ROS workspace; build it with colcon', allow_module_level=True)

from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402

from launch import LaunchDescription, LaunchService  # noqa: E402


def children() -> list[int]:
    """Return the processes that this one has started."""
    lists = Path('/proc/self/task').glob('*/children')
    return [int(number) for file in lists for number in file.read_text(encoding='ascii').split()]


def launch(**arguments: str) -> tuple[int, list[int]]:
    """Run perception.launch.py to its end; return its exit code and the processes that are left, which are ended."""
    before = children()
    source = PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'perception.launch.py'))
    service = LaunchService(noninteractive=True)
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    service.include_launch_description(LaunchDescription([include]))
    code = service.run()
    left = [number for number in children() if number not in before]
    for number in left:
        os.kill(number, signal.SIGINT)
    return code, left


def test_without_rviz_no_node_is_started() -> None:
    try:
        packages.get_package_share_directory('rviz2')
        pytest.skip('RViz is installed')
    except packages.PackageNotFoundError:
        pass
    assert launch(rviz='true') == (1, [])


def test_a_parameter_file_that_is_not_there_is_an_error() -> None:
    assert launch(params_file='/nowhere/vehicle.yaml') == (1, [])
