# SPDX-License-Identifier: Apache-2.0
"""The three tasks, one file each: target, loss and decoding."""

TASKS = ('semantic', 'instance', 'depth')
