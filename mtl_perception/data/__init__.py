"""Frames: reading, writing, augmenting and making them up."""

SPLITS = ('train', 'val', 'test')
"""Names of Cityscapes' splits."""
