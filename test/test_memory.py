# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from mtl_perception.memory import resident_memory

FAULTS = """
import resource
import numpy as np
from mtl_perception.memory import release_freed_memory, resident_memory, reuse_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(2**24, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

reuse_freed_memory()
faults()
again, held = faults(), resident_memory()
release_freed_memory()
print(again, held - resident_memory())
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='needs glibc')
def test_a_freed_block_is_used_again_until_all_are_released():
    output = subprocess.run(
        [sys.executable, '-c', FAULTS], capture_output=True, text=True, check=True
    ).stdout
    faults, released = map(float, output.split())
    assert faults < 100  # ten blocks of 4096 pages each
    assert released > 12


@pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')
def test_memory_of_this_process_is_known_and_of_none_that_is_gone():
    assert resident_memory() > 10
    assert resident_memory(2**30) is None
