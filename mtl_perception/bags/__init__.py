"""Reading, writing and evaluating rosbag2 folders without ROS."""
