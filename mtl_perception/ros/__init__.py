"""The core as ROS 2 nodes: messages in, messages out; no tensors here."""
