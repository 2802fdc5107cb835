"""The multi-task network and its checkpoint files."""
