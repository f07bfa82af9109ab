"""The perception node, and RViz on request. An argument left empty leaves the choice to the parameter file."""

from pathlib import Path

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

CONFIG = PathJoinSubstitution([FindPackageShare('seg_perception'), 'config'])
PROFILE = PathJoinSubstitution([CONFIG, 'fastdds_shm.xml'])
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
OVERRIDES = ('cameras', 'model', 'backend', 'use_sim_time')

ARGUMENTS = [
    DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node and of the camera topics.'),
    DeclareLaunchArgument(
        'params_file',
        default_value=PathJoinSubstitution([CONFIG, 'params.yaml']),
        description='Parameter file; config/params.yaml lists every parameter.',
    ),
    DeclareLaunchArgument('cameras', default_value='', description='Camera names as a YAML list, e.g. [front, left].'),
    DeclareLaunchArgument('model', default_value='', description='Path of an ONNX model.'),
    DeclareLaunchArgument('backend', default_value='', description='auto, tensorrt or onnxruntime.'),
    DeclareLaunchArgument('use_sim_time', default_value='', description='true: take the time from /clock.'),
    DeclareLaunchArgument(
        'rviz', default_value='false', description='true: start RViz with the package configuration.'
    ),
    DeclareLaunchArgument('log_level', default_value='info', description='debug, info, warn, error or fatal.'),
]


def nodes(context):
    """Start the node with the parameter file and those arguments that were given, and RViz with the same clock."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    given = {name: yaml.safe_load(text) for name, text in given.items() if text}
    params_file = Path(LaunchConfiguration('params_file').perform(context))
    if not params_file.is_file():  # launch_ros warns and goes on with the defaults
        raise FileNotFoundError(f'params_file is {params_file}: no such file; give the path of a parameter file')
    perception = Node(
        package='seg_perception',
        executable='seg_perception_node',
        name='seg_perception',
        namespace=LaunchConfiguration('namespace'),
        parameters=[str(params_file), given],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        parameters=[{'use_sim_time': given.get('use_sim_time', False)}],
        arguments=['-d', PathJoinSubstitution([CONFIG, 'seg_perception.rviz'])],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return [rviz, perception]  # where RViz is not installed, launch ends here and would leave a node behind


def generate_launch_description():
    """Return the description; the large Fast DDS segment is set unless the environment names another profile."""
    profile = [SetEnvironmentVariable(v, EnvironmentVariable(v, default_value=PROFILE)) for v in PROFILE_VARIABLES]
    return LaunchDescription([*ARGUMENTS, *profile, OpaqueFunction(function=nodes)])
