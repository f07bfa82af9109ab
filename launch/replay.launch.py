"""A bag, a video or a folder of frames as the camera, the perception node, and RViz."""

import shlex

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchDescription

PERCEPTION = PathJoinSubstitution([FindPackageShare('seg_perception'), 'launch', 'perception.launch.py'])
PASSED_ON = ('params_file', 'model', 'backend', 'use_sim_time', 'rviz', 'log_level')

ARGUMENTS = [
    DeclareLaunchArgument('input', description='Bag, video, folder of frames, or scene:SEED.'),
    DeclareLaunchArgument('camera', default_value='front', description='Name of the camera that is played.'),
    DeclareLaunchArgument('rate', default_value='1.0', description='Speed; 2.0 plays twice as fast.'),
    DeclareLaunchArgument(
        'play_options',
        default_value='--clock',
        description='Further options of `seg_perception play`, e.g. "--clock --loop".',
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=PathJoinSubstitution([FindPackageShare('seg_perception'), 'config', 'params.yaml']),
        description='Parameter file of the node.',
    ),
    DeclareLaunchArgument('model', default_value='', description='Path of an ONNX model.'),
    DeclareLaunchArgument('backend', default_value='', description='auto, tensorrt or onnxruntime.'),
    DeclareLaunchArgument('use_sim_time', default_value='true', description='false: without --clock in play_options.'),
    DeclareLaunchArgument('rviz', default_value='true', description='false: no RViz.'),
    DeclareLaunchArgument('log_level', default_value='info', description='debug, info, warn, error or fatal.'),
]


def play(context):
    """Play the recording once the node listens; the launch ends with it."""
    return [
        ExecuteProcess(
            cmd=[
                ExecutableInPackage(package='seg_perception', executable='seg_perception'),
                'play',
                LaunchConfiguration('input'),
                '--camera',
                LaunchConfiguration('camera'),
                '--rate',
                LaunchConfiguration('rate'),
                '--wait',
                '30',
                *shlex.split(LaunchConfiguration('play_options').perform(context)),
            ],
            output='screen',
            on_exit=Shutdown(reason='the recording has ended'),
        )
    ]


def generate_launch_description():
    """Return the description of node, RViz and player."""
    passed_on = {name: LaunchConfiguration(name) for name in PASSED_ON}
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PERCEPTION),
        launch_arguments={**passed_on, 'cameras': ['[', LaunchConfiguration('camera'), ']']}.items(),
    )
    return LaunchDescription([*ARGUMENTS, perception, OpaqueFunction(function=play)])
