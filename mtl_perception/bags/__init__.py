# SPDX-License-Identifier: Apache-2.0
"""Reading, writing and evaluating rosbag2 folders without ROS."""
