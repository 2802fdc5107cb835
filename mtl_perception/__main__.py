# SPDX-License-Identifier: Apache-2.0
"""Run the ``mtl`` command line as ``python -m mtl_perception``."""

import sys

from mtl_perception.commands import main

if __name__ == '__main__':
    sys.exit(main())
