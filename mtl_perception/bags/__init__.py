"""Bags: rosbag2 folders read, written, evaluated; imports no ROS."""
