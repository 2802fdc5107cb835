"""Everything here needs ROS."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
