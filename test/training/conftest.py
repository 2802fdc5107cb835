# SPDX-License-Identifier: Apache-2.0
"""A finished run for the tests of the ablation and its comparison."""

from collections.abc import Callable

import pytest

from mtl_perception.network.checkpoint import CheckpointInfo, save_checkpoint
from mtl_perception.network.multitask import MultiTaskNetwork, NetworkConfig


@pytest.fixture
def finish() -> Callable[..., None]:
    """Return a function that writes the final checkpoint of a run with these figures."""

    def write(folder, steps=3, **figures):
        network = MultiTaskNetwork(NetworkConfig(stride=16, head_width=1))
        info = CheckpointInfo(
            network.config, data='streets', recipe={'steps': steps}, metrics={'val': figures}
        )
        save_checkpoint(folder / 'model.safetensors', network, info)

    return write
