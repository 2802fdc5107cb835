# SPDX-License-Identifier: Apache-2.0
"""Play a bag through the node at the time of the bag; RViz shows the results.

All arguments of mtl.launch.py apply.
"""

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

ARGUMENTS = (
    DeclareLaunchArgument('bag', description='folder of the bag'),
    DeclareLaunchArgument('rate', default_value='1.0', description='multiple of real time'),
    DeclareLaunchArgument(
        'delay',
        default_value='15.0',
        description='seconds before the bag is played, while the node loads its network',
    ),
    DeclareLaunchArgument(
        'loop', default_value='false', choices=BOOLEAN, description='restart the bag at its end'
    ),
    # mtl.launch.py declares these two with other defaults; the first declaration counts.
    DeclareLaunchArgument(
        'image_transport',
        default_value='raw',
        choices=['raw', 'compressed'],
        description='transport of the images in the bag; compressed: <image>/compressed',
    ),
    DeclareLaunchArgument(
        'rviz', default_value='true', choices=BOOLEAN, description='start RViz 2'
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the node with its arguments, and the player."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_file('launch', 'mtl.launch.py'))),
        launch_arguments={'use_sim_time': 'true'}.items(),
    )
    # The player comes last: it reads arguments that the included file declares.
    return LaunchDescription([*ARGUMENTS, node, OpaqueFunction(function=_player)])


def _player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    names = ('bag', 'rate', 'delay', 'loop', 'image', 'camera_info', 'image_transport')
    argument = {name: LaunchConfiguration(name).perform(context) for name in names}
    image = argument['image']
    if argument['image_transport'] == 'compressed':
        image = f'{image}/compressed'
    # Only the inputs: recorded results of a node would mix with the results of this one.
    topics = [image, argument['camera_info'], '/tf', '/tf_static']
    command = ['ros2', 'bag', 'play', argument['bag'], '--clock', '--rate', argument['rate']]
    command += ['--delay', argument['delay'], '--topics', *topics]
    if argument['loop'] == 'true':
        command.append('--loop')
    environment = transport_environment(context.environment)
    return [ExecuteProcess(cmd=command, name='player', output='screen', additional_env=environment)]
