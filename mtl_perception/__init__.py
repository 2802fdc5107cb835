"""Semantic labels, instances and metric depth from one forward pass, as ROS 2 topics."""

__version__ = '0.1.0'
