# SPDX-License-Identifier: Apache-2.0
"""Send a synthetic drive to a node over DDS, and evaluate the results that it publishes.

The node runs in a process of its own. Without --source the images are a synthetic drive with ground
truth. With --source they are pictures or a video, with ground truth if they are in the Cityscapes
folder layout. The node drops images that arrive too fast; with a lower --rate, more are evaluated.
Writes overview.png, metrics.json, per_frame.csv, frames.png, drive/ (MCAP: the images sent), bag/
(MCAP: input and outputs) and node.log.

Examples:
  mtl demo
  mtl demo --source ~/pictures/street --focal-length 1150 --output out/my_street
  mtl demo --source drive.mp4 --checkpoint my.safetensors --device cuda
"""

import argparse

from mtl_perception.commands.options import (
    ASSUMED_FOCAL_LENGTH,
    add_checkpoint,
    add_count,
    add_focal_length,
    add_output,
    add_seed,
    positive_float,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl demo``."""
    parser.add_argument(
        '--source',
        metavar='PATH',
        help='picture, folder of pictures or video (default: a synthetic drive)',
    )
    add_focal_length(parser)
    add_count(parser, '--frames', 90, 'images to send')
    parser.add_argument(
        '--rate',
        type=positive_float,
        default=30.0,
        metavar='HZ',
        help='images per second',
    )
    add_checkpoint(parser)
    add_output(parser, 'out/demo')
    add_seed(parser)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl demo``."""
    from mtl_perception.evaluation.report import metrics_table
    from mtl_perception.live.demo import run_demo

    replayed, delivery, sent = run_demo(
        source=args.source,
        focal_length=args.focal_length,
        frames=args.frames,
        rate=args.rate,
        checkpoint=args.checkpoint,
        device=args.device,
        runtime=args.runtime,
        seed=args.seed,
        output=args.output,
    )
    print(f'{metrics_table(replayed.metrics)}\n{delivery}')
    print(f'identical {replayed.identical} of {len(replayed.rows)} results to the predictor')
    if sent.tally.uncalibrated:
        print(f'note      {ASSUMED_FOCAL_LENGTH}')
    print(f'written to {args.output}')
    return 0
