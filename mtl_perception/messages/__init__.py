# SPDX-License-Identifier: Apache-2.0
"""Contents of ROS messages as arrays and numbers, without ROS.

Functions take a message of any class with the attributes of the ROS message of that name: a class
of rclpy, a class of rosbags or a plain namespace.
"""


class MessageError(ValueError):
    """A message that cannot be used; the text states its contents and the expectation."""
