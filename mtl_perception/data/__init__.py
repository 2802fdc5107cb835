"""Frames: reading, writing, augmenting and making them up."""
