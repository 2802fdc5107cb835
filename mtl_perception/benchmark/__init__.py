# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of speed and quality, one module per subject."""
