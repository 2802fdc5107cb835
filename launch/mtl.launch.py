# SPDX-License-Identifier: Apache-2.0
"""Start the node, with ``source:=…`` a camera, and with ``rviz:=true`` RViz."""

import posixpath
import sys

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from mtl_perception.resources import share_file

BOOLEAN = ('true', 'false')

OVERRIDES = (
    ('image_transport', ('raw', 'compressed'), 'raw, or compressed for <image>/compressed'),
    ('checkpoint', (), '.safetensors file, street or synthetic'),
    ('device', (), 'auto, cpu, cuda or cuda:N'),
    ('autostart', BOOLEAN, 'configure and activate without a lifecycle manager'),
    ('use_sim_time', BOOLEAN, 'take the time from /clock, for a bag or a simulator'),
)
"""Name, choices and description of each argument that may replace a value of params_file."""

ARGUMENTS = (
    DeclareLaunchArgument(
        'image', default_value='/camera/image_raw', description='topic of the rectified images'
    ),
    DeclareLaunchArgument(
        'camera_info',
        default_value='/camera/camera_info',
        description='topic of the CameraInfo of the images, which makes depth metric',
    ),
    DeclareLaunchArgument(
        'namespace', default_value='', description='namespace of the node and its outputs'
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=str(share_file('config', 'node.yaml')),
        description='YAML file with the parameters of the node',
    ),
    *(
        DeclareLaunchArgument(
            name,
            default_value='',
            choices=('', *choices) if choices else None,
            description=f'{description}; empty: as in params_file',
        )
        for name, choices, description in OVERRIDES
    ),
    DeclareLaunchArgument(
        'source',
        default_value='',
        description='picture, folder, video, device number or synthetic to publish; empty: none',
    ),
    DeclareLaunchArgument(
        'frame_id',
        default_value='camera',
        description="optical frame of the images of source, and RViz' fixed frame",
    ),
    DeclareLaunchArgument(
        'rviz', default_value='false', choices=BOOLEAN, description='start RViz 2'
    ),
    DeclareLaunchArgument(
        'log_level', default_value='info', description='debug, info, warn, error or fatal'
    ),
)

SHOWN = ('overlay/image', 'semantic/color', 'instance/color', 'depth/image', 'points')
"""Outputs that config/mtl.rviz displays."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the processes that they start."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_entities)])


def _entities(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    argument = {
        declared.name: LaunchConfiguration(declared.name).perform(context) for declared in ARGUMENTS
    }
    entities: list[LaunchDescriptionEntity] = [_perception(argument)]
    if argument['source']:
        entities.append(_camera(argument))
    if argument['rviz'] == 'true':
        entities.append(_rviz(argument))
    return entities


def _perception(argument: dict[str, str]) -> Node:
    overrides = {
        name: value == 'true' if value in BOOLEAN else value
        for name, *_ in OVERRIDES
        if (value := argument[name])
    }
    return Node(
        package='mtl_perception',
        executable='mtl_node',
        name='mtl_perception',
        namespace=argument['namespace'],
        parameters=[argument['params_file'], overrides],
        remappings=[('~/image', argument['image']), ('~/camera_info', argument['camera_info'])],
        ros_arguments=['--log-level', argument['log_level']],
        output='screen',
    )


def _camera(argument: dict[str, str]) -> ExecuteProcess:
    command = [
        *(sys.executable, '-m', 'mtl_perception', 'camera', argument['source']),
        *('--topic', argument['image'], '--camera-info-topic', argument['camera_info']),
        *('--namespace', argument['namespace'], '--frame-id', argument['frame_id']),
        # The node may subscribe to either transport: params_file decides too.
        '--compressed',
    ]
    return ExecuteProcess(cmd=command, name='camera', output='screen')


def _rviz(argument: dict[str, str]) -> Node:
    # The configuration file names topics without a namespace.
    moved = {f'/mtl_perception/{output}': f'mtl_perception/{output}' for output in SHOWN}
    moved['/camera/image_raw'] = argument['image']
    root = posixpath.join('/', argument['namespace'].strip('/'))
    simulated = argument['use_sim_time']
    return Node(
        package='rviz2',
        executable='rviz2',
        name='mtl_rviz',
        arguments=['-d', str(share_file('config', 'mtl.rviz')), '-f', argument['frame_id']],
        parameters=[{'use_sim_time': simulated == 'true'}] if simulated else None,
        # An absolute topic stays as it is.
        remappings=[(name, posixpath.join(root, topic)) for name, topic in moved.items()],
        ros_arguments=['--log-level', argument['log_level']],
    )
