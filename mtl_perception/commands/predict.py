# SPDX-License-Identifier: Apache-2.0
"""Run a checkpoint on pictures, a video or a device; write overview pictures and raw maps.

For each image NAME, OUTPUT/NAME.png shows input, labels, instances, depth and overlay side by
side. OUTPUT/raw contains the maps at the size of the image:
  NAME_labels.png      8 bits: Cityscapes label ID
  NAME_instances.png   16 bits: label · 1000 + k on instances, the bare label ID elsewhere
  NAME_depth.png       16 bits: metres · 256; 0 is unknown, 65535 is beyond the maximum
  NAME_instances.json  class, score and distance of each instance

Examples:
  mtl predict street.jpg
  mtl predict drive.mp4 --focal-length 1150 --limit 300 --output out/drive
  mtl predict pictures/ --no-raw
  mtl predict street.jpg --explain

With --explain, OUTPUT/NAME_explained.png shows how pixels are grouped into instances: the votes on
the image, and the reachability plot of each class with its cut.
"""

import argparse
import itertools
import statistics

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl predict``."""
    parser.add_argument(
        'source',
        metavar='SOURCE',
        help='picture, folder of pictures, video, camera device, or synthetic',
    )
    options.add_checkpoint(parser)
    options.add_params_file(parser)
    options.add_limit(parser, 'images')
    options.add_output(parser, 'out/predict')
    options.add_focal_length(parser, 'all images (overrides their source)')
    parser.add_argument(
        '--raw',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='write the raw maps (default: yes)',
    )
    parser.add_argument(
        '--explain', action='store_true', help='also draw how pixels are grouped into instances'
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl predict``."""
    from tqdm import tqdm

    from mtl_perception.files import make_folder
    from mtl_perception.inference.predict import predict_images
    from mtl_perception.sources import open_source

    source = open_source(args.source)
    make_folder(args.output)
    predictor = options.make_predictor(args, ('instance',) if args.explain else ())
    selected = itertools.islice(source, args.limit)
    total = min(filter(None, (len(source), args.limit)), default=None)
    predicted = predict_images(
        predictor,
        tqdm(selected, total=total, unit='image', disable=None),
        args.output,
        focal_length=args.focal_length,
        raw=args.raw,
        explain=args.explain,
    )
    seconds, unreadable = predicted.seconds, getattr(source, 'unreadable', 0)
    if not seconds:
        msg = f'{args.source}: none of its images could be read'
        raise ValueError(msg)
    images = '1 image' if len(seconds) == 1 else f'{len(seconds)} images'
    print(
        f'{images} in {args.output}, {1 / statistics.median(seconds):.1f} frames/s'
        + (f'; {unreadable} could not be read' if unreadable else '')
    )
    if predicted.is_assumed and 'depth' in predictor.tasks:
        print(options.ASSUMED_FOCAL_LENGTH)
    return 0
