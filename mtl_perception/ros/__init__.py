# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 side: the node, a camera, and the messages between them."""
