# SPDX-License-Identifier: Apache-2.0
"""Convert a dataset in the Cityscapes folder layout to a bag with ground truth, for mtl replay.

The bag (MCAP) holds the images, their CameraInfo, and the ground truth that each frame has:
  /ground_truth/semantic/image   mono8, label IDs
  /ground_truth/instance/image   mono16, label · 1000 + k on instances, bare label IDs elsewhere
  /ground_truth/depth/image      32FC1, metres; NaN where unknown

Examples:
  mtl bag /data/cityscapes --split val --output out/cityscapes_val
  mtl bag out/streets --rate 30 --encoding jpeg --output out/streets_bag
"""

import argparse
from pathlib import Path

from mtl_perception.commands import options
from mtl_perception.tasks import TASKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl bag``."""
    parser.add_argument(
        'dataset', type=Path, metavar='DATASET', help='dataset in the Cityscapes folder layout'
    )
    options.add_split(parser)
    options.add_limit(parser, 'frames')
    parser.add_argument(
        '--output',
        type=Path,
        required=True,
        metavar='BAG',
        help='folder of the bag; an existing bag is replaced',
    )
    parser.add_argument(
        '--rate', type=options.positive_float, default=10.0, metavar='HZ', help='images per second'
    )
    parser.add_argument(
        '--encoding',
        choices=('raw', 'jpeg', 'png'),
        default='raw',
        help='storage of images: raw, or compressed on <topic>/compressed; jpeg is lossy',
    )
    parser.add_argument(
        '--topic', default='/camera/image_raw', help='image topic; camera_info is in its namespace'
    )
    parser.add_argument(
        '--frame-id', default='camera', metavar='NAME', help='optical frame of the camera'
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl bag``."""
    from tqdm import tqdm

    from mtl_perception.bags.dataset import write_dataset_bag
    from mtl_perception.data.cityscapes import count_ground_truth, find_frames

    frames = find_frames(args.dataset, args.split)[: args.limit]
    write_dataset_bag(
        (paths.read() for paths in tqdm(frames, 'bag', unit='frame', disable=None)),
        args.output,
        rate=args.rate,
        image_topic=args.topic,
        frame_id=args.frame_id,
        codec=None if args.encoding == 'raw' else args.encoding,
    )
    counts = count_ground_truth(frames)
    truth = ', '.join(f'{counts[task]} {task}' for task in TASKS)
    print(f'{len(frames)} frames in {args.output}; ground truth: {truth}')
    return 0
