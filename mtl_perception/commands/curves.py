# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of several trainings on common axes, a panel for each task.

Reads the TensorBoard logs of mtl train, during the training or afterwards, and writes curves.png.

Examples:
  mtl curves out/semantic_only out/all_three --output out
"""

import argparse
from pathlib import Path

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl curves``."""
    parser.add_argument(
        'runs',
        nargs='+',
        type=Path,
        metavar='RUN',
        help='folder of a training (trainer.default_root_dir), which names it in the legend',
    )
    options.add_output(parser, 'out/curves')


def main(args: argparse.Namespace) -> int:
    """Run ``mtl curves``."""
    from mtl_perception.training.curves import CURVES_FILE, read_curves, write_curves

    path = args.output / CURVES_FILE
    write_curves(path, {str(run): [read_curves(run)] for run in args.runs})
    print(f'written to {path}')
    return 0
