"""Colours, overlays, sheets and plots."""
