# SPDX-License-Identifier: Apache-2.0
"""Multi-task network and its checkpoint files."""
