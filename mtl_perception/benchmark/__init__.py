"""Benchmarks of speed and quality, one module per subject."""
