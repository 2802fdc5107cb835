# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint on a dataset in the Cityscapes folder layout.

The official cityscapesscripts compute IoU, iIoU and AP at the size of the ground truth. Errors of
offsets and disparity are in pixels of the network's output map. A frame without ground truth for a
task counts for the other tasks. OUTPUT gets metrics.json, and frames.png with the best and the
worst frames.

Examples:
  mtl evaluate --data /data/cityscapes --split val
  mtl evaluate --data out/streets --checkpoint out/train_synthetic/model.safetensors --limit 50
  mtl evaluate --data /data/street --cities camvid --groups camvid
"""

import argparse
from pathlib import Path

from mtl_perception.commands import options
from mtl_perception.tasks import TASKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl evaluate``."""
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        metavar='DIR',
        help='dataset in the Cityscapes folder layout',
    )
    options.add_split(parser)
    options.add_checkpoint(parser)
    options.add_params_file(parser)
    parser.add_argument('--cities', nargs='+', metavar='CITY', help='use only these city folders')
    options.add_limit(parser, 'frames')
    options.add_output(parser, 'out/evaluate')
    options.add_json(parser)
    parser.add_argument(
        '--groups',
        metavar='NAME',
        help='also score labels by the coarser classes of another dataset: camvid or idd',
    )
    parser.add_argument(
        '--record',
        action='store_true',
        help="also record the figures in the checkpoint's metadata under the dataset's name",
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl evaluate``."""
    from mtl_perception.data.cityscapes import count_ground_truth, find_frames, frames_of_cities
    from mtl_perception.evaluation.evaluate import evaluate
    from mtl_perception.evaluation.report import metrics_table, summary
    from mtl_perception.files import make_folder, write_json
    from mtl_perception.labels import GROUPS
    from mtl_perception.network.checkpoint import record_metrics

    if args.groups is not None and args.groups not in GROUPS:
        msg = f'--groups {args.groups}: unknown; choose {" or ".join(GROUPS)}'
        raise ValueError(msg)
    if args.json is not None:
        make_folder(args.json.parent)
    frames = find_frames(args.data, args.split)
    if args.cities is not None:
        frames = frames_of_cities(frames, args.cities)
    frames = frames[: args.limit]
    counts = count_ground_truth(frames)
    if not any(counts[task] for task in TASKS):
        msg = (
            f'{args.data}: none of the {len(frames)} frames of split {args.split!r} has ground '
            'truth in gtFine, or in disparity and camera'
        )
        raise ValueError(msg)
    predictor = options.make_predictor(args)
    metrics = evaluate(predictor, frames, args.output, args.groups)
    print(metrics_table(metrics))
    if args.json is not None:
        write_json(args.json, metrics)
    if args.record:
        dataset = ' '.join([args.data.resolve().name, args.split, *(args.cities or ())])
        record_metrics(args.checkpoint, dataset, summary(metrics))
    print(f'written to {args.output}')
    return 0
