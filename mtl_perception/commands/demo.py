"""Run a camera and the node as two processes over DDS, and look at what comes out.

Without --source the camera films a synthetic street, so that the result can be compared with the
truth; with it, the user's own pictures or video (and with their ground truth where they lie in the
Cityscapes layout). Writes overview.png, metrics.json, bag/ (MCAP: input and outputs), node.log and
the street.

Examples:
  mtl demo
  mtl demo --source ~/pictures/street --focal-length 1150 --output out/my_street
  mtl demo --source drive.mp4 --checkpoint my.safetensors --device cuda
"""

import argparse

from mtl_perception.commands.options import (
    add_checkpoint,
    add_focal_length,
    add_output,
    add_seed,
    positive_float,
    positive_int,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl demo``."""
    parser.add_argument(
        '--source', metavar='PATH', help='picture, folder of pictures or video, instead of a street'
    )
    add_focal_length(parser)
    parser.add_argument(
        '--frames',
        type=positive_int,
        default=60,
        metavar='N',
        help='end after so many published frames (default: %(default)s)',
    )
    parser.add_argument(
        '--rate',
        type=positive_float,
        default=30.0,
        metavar='HZ',
        help='images a second of the camera (default: %(default)s)',
    )
    add_checkpoint(parser)
    add_output(parser, 'out/demo')
    add_seed(parser)


def main(args: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    from mtl_perception.live.demo import run_demo

    run_demo(
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
    return 0
