"""Measuring predictions against ground truth."""
