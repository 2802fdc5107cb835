"""Play a bag through the node at the bag's own time; with ``rviz:=true`` RViz shows what comes."""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from mtl_perception.resources import share_file
from mtl_perception.ros.transport import transport_environment

BOOLEAN = ('true', 'false')

PASSED_ON = (
    DeclareLaunchArgument(
        'image',
        default_value='/camera/image_raw',
        description='topic of the images in the bag, without /compressed',
    ),
    DeclareLaunchArgument(
        'camera_info',
        default_value='/camera/camera_info',
        description='topic of their CameraInfo, which makes depth metric',
    ),
    DeclareLaunchArgument(
        'image_transport',
        default_value='raw',
        choices=['raw', 'compressed'],
        description='raw, or compressed for <image>/compressed',
    ),
    DeclareLaunchArgument(
        'namespace', default_value='', description='namespace of the node and its outputs'
    ),
    DeclareLaunchArgument(
        'checkpoint',
        default_value='',
        description='.safetensors file, street or synthetic; empty: street',
    ),
    DeclareLaunchArgument(
        'device', default_value='', description='auto, cpu, cuda or cuda:N; empty: auto'
    ),
    DeclareLaunchArgument(
        'frame_id',
        default_value='camera',
        description="optical frame of the images, RViz' fixed frame",
    ),
    DeclareLaunchArgument(
        'rviz', default_value='true', choices=BOOLEAN, description='start RViz 2'
    ),
)
"""What mtl.launch.py takes as well."""

PLAYED = (
    DeclareLaunchArgument('bag', description="the bag's folder"),
    DeclareLaunchArgument('rate', default_value='1.0', description='times real time'),
    DeclareLaunchArgument(
        'delay',
        default_value='15.0',
        description='seconds to wait before playing, while the node loads its network',
    ),
    DeclareLaunchArgument(
        'loop', default_value='false', choices=BOOLEAN, description='begin anew at the end'
    ),
)

TRANSFORMS = ('/tf', '/tf_static')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, and what to start with them."""
    return LaunchDescription([*PLAYED, *PASSED_ON, OpaqueFunction(function=_entities)])


def _entities(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    argument = {
        declared.name: LaunchConfiguration(declared.name).perform(context)
        for declared in (*PLAYED, *PASSED_ON)
    }
    passed_on = {declared.name: argument[declared.name] for declared in PASSED_ON}
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_file('launch', 'mtl.launch.py'))),
        launch_arguments={**passed_on, 'use_sim_time': 'true'}.items(),
    )
    return [node, _player(argument, context)]


def _player(argument: dict[str, str], context: LaunchContext) -> ExecuteProcess:
    image = argument['image']
    if argument['image_transport'] == 'compressed':
        image = f'{image}/compressed'
    # Not what a node published when the bag was recorded: it would mix with what this one does.
    topics = [image, argument['camera_info'], *TRANSFORMS]
    command = ['ros2', 'bag', 'play', argument['bag'], '--clock', '--rate', argument['rate']]
    command += ['--delay', argument['delay'], '--topics', *topics]
    if argument['loop'] == 'true':
        command.append('--loop')
    return ExecuteProcess(
        cmd=command,
        name='player',
        output='screen',
        additional_env=transport_environment(context.environment),
    )
