# SPDX-License-Identifier: Apache-2.0
"""Inference: from an image to maps, on any runtime and device."""
