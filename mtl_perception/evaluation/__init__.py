"""Comparison of predictions with ground truth."""
