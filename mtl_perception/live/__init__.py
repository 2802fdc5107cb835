# SPDX-License-Identifier: Apache-2.0
"""Tools for a running node: recorder, live replay and demo."""
