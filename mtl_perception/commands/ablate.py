# SPDX-License-Identifier: Apache-2.0
"""Train the paper's nine rows with equal budgets, and compare them.

The rows are: semantic, instance and depth alone; all three with equal, tuned and learned weights;
the three pairs. Each run is a process of mtl train fit; options of mtl train fit may follow and
apply to all runs. Finished runs are kept and interrupted runs resumed, so rows and seeds can be
added later. Start the command twice to share the runs, on two GPUs for example. Writes ablation.md,
ablation.json and curves.png.

Examples:
  mtl ablate --config config/ablate_synthetic.yaml
  mtl ablate --config config/ablate_synthetic.yaml --rows semantic unweighted all --seeds 0 1 2
  mtl ablate --config config/train_cityscapes.yaml --data.root /data/cityscapes
  CUDA_VISIBLE_DEVICES=1 mtl ablate --config config/train_cityscapes.yaml …
"""

import argparse
from pathlib import Path

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl ablate``."""
    parser.add_argument(
        '--config', type=Path, required=True, metavar='FILE', help='configuration of mtl train'
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        metavar='ROW',
        help='semantic, instance, depth, unweighted, optimal, semantic+instance, semantic+depth, '
        'instance+depth, all (default: all nine)',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], metavar='N', help='seeds of a row (default: 0)'
    )
    options.add_output(parser, 'out/ablate')
    options.add_overrides(parser)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl ablate``."""
    from mtl_perception.training.ablation import ablate
    from mtl_perception.training.comparison import ROWS

    rows = args.rows or list(ROWS)
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        msg = f'--rows {" ".join(unknown)}: unknown; choose from {", ".join(ROWS)}'
        raise ValueError(msg)
    print(ablate(args.config, args.output, rows=rows, seeds=args.seeds, overrides=args.overrides))
    print(f'written to {args.output}')
    return 0
