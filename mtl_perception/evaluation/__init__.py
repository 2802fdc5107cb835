# SPDX-License-Identifier: Apache-2.0
"""Comparison of predictions with ground truth."""
