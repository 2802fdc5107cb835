"""Multi-task network and its checkpoint files."""
