# SPDX-License-Identifier: Apache-2.0
"""Frames on disk: reading, writing, caching and augmentation."""

SPLITS = ('train', 'val', 'test')
"""Splits of Cityscapes."""
