# SPDX-License-Identifier: Apache-2.0
"""Colours, overlays, sheets and plots."""
