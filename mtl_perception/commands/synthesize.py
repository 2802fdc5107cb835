# SPDX-License-Identifier: Apache-2.0
"""Render synthetic streets with exact ground truth in the Cityscapes folder layout.

A frame depends only on the seed, the split, its number and the size. Run an interrupted command
again to resume it; give a larger --frames to extend the split. No street is in two splits,
whatever their seeds.

Examples:
  mtl synthesize --output streets --split train --frames 10000 --workers 8
  mtl synthesize --output streets --split val --frames 500 --preview streets/preview.png
"""

import argparse

from mtl_perception.commands import options
from mtl_perception.data import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl synthesize``."""
    options.add_output(parser, 'out/synthetic')
    parser.add_argument('--split', choices=SPLITS, default='train', help='split to write')
    options.add_count(parser, '--frames', 1000, 'frames in the split, in total')
    options.add_seed(parser)
    parser.add_argument(
        '--size',
        type=options.size,
        default='256x512',
        metavar='HxW',
        help='height and width of the images in pixels',
    )
    options.add_count(parser, '--workers', 1, 'rendering processes')
    parser.add_argument(
        '--preview',
        type=options.picture_file,
        metavar='FILE',
        help='also write a contact sheet of the first frames (.png or .jpg)',
    )


def main(args: argparse.Namespace) -> int:
    """Render the missing frames and return the exit status."""
    from mtl_perception.synthetic.dataset import write_dataset, write_preview

    height, width = args.size
    images = write_dataset(
        args.output,
        args.split,
        args.frames,
        seed=args.seed,
        height=height,
        width=width,
        workers=args.workers,
    )
    if args.preview:
        write_preview(args.preview, images)
    print(f'{args.frames} frames in {images[0].parent}')
    return 0
