"""Inference: from an image to maps, on any runtime and device."""
