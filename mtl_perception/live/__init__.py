"""Tools that run beside a node: recording, replaying, the demo."""
