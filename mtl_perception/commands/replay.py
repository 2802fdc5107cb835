# SPDX-License-Identifier: Apache-2.0
"""Evaluate a network on a bag, frame by frame, with the predictor of the node.

BAG is a rosbag2 folder (MCAP or SQLite, also split or compressed) or one of its files. ROS is not
needed to read it. If the bag has ground truth on /ground_truth/{semantic,instance,depth}/image (mtl
bag writes such bags), the metrics are those of mtl evaluate. Rate, duration of each stage, and
stability of labels and depth along the optical flow are always measured.

OUTPUT receives metrics.json; per_frame.csv; frames.png with the worst and the best frames (without
ground truth: the least and the most stable frames); and bag/ with input and predictions for RViz.

Examples:
  mtl replay drive/ --output out/drive
  mtl replay drive/ --image-topic /front/image_raw --start 60 --duration 30 --every 3
  mtl replay drive/ --live              running node in lockstep: no frame is dropped
  mtl replay drive/ --live --rate 1     running node in real time: dropped frames and latency

With --live, the images are sent over ROS 2 to an active node. The predictor then runs here too, for
comparison and for values that a node does not publish; give it the checkpoint, device and runtime
of the node.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_perception.commands import options
from mtl_perception.tasks import TASKS

if TYPE_CHECKING:
    from mtl_perception.bags.frames import BagFrames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl replay``."""
    parser.add_argument('path', type=Path, metavar='BAG', help='folder or file of a bag')
    options.add_checkpoint(parser)
    options.add_params_file(parser)
    options.add_limit(parser, 'frames')
    options.add_output(parser, 'out/replay')
    parser.add_argument(
        '--bag',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='write input and predictions to OUTPUT/bag (default: yes)',
    )
    topics = parser.add_argument_group('topics')
    topics.add_argument(
        '--image-topic', metavar='TOPIC', help='raw or compressed images (default: the only topic)'
    )
    topics.add_argument(
        '--camera-info-topic',
        metavar='TOPIC',
        help='CameraInfo of the images (default: camera_info in their namespace)',
    )
    for task in TASKS:
        topics.add_argument(
            f'--{task}-truth-topic',
            metavar='TOPIC',
            help=f'ground truth (default: /ground_truth/{task}/image, if present)',
        )
    topics.add_argument(
        '--tolerance',
        type=options.non_negative_float,
        default=0.005,
        metavar='S',
        help='largest difference between the stamps of an image and its ground truth',
    )
    options.add_focal_length(topics)
    part = parser.add_argument_group('part of the bag')
    part.add_argument(
        '--start', type=options.non_negative_float, default=0.0, metavar='S', help='seconds to skip'
    )
    part.add_argument(
        '--duration', type=options.positive_float, metavar='S', help='seconds to replay'
    )
    part.add_argument(
        '--every', type=options.positive_int, default=1, metavar='N', help='use every Nth image'
    )
    live = parser.add_argument_group('running node')
    live.add_argument(
        '--live', action='store_true', help='send the images to a running node, one at a time'
    )
    live.add_argument(
        '--rate',
        type=options.positive_float,
        metavar='R',
        help='with --live: send in real time, R times as fast, without waiting for results',
    )
    live.add_argument(
        '--node', default='/mtl_perception', metavar='NAME', help='with --live: name of the node'
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl replay``."""
    import cv2

    from mtl_perception.bags.frames import BagFrames, Selection
    from mtl_perception.bags.reader import BagError, BagReader
    from mtl_perception.bags.topics import AmbiguousTopicError, find_topics
    from mtl_perception.files import make_folder

    if args.rate is not None and not args.live:
        msg = '--rate needs --live; without it the network sets the pace'
        raise ValueError(msg)
    make_folder(args.output)
    cv2.setNumThreads(1)  # leave the other cores to the network
    selection = Selection(
        start=args.start,
        duration=args.duration,
        every=args.every,
        limit=args.limit,
        tolerance=args.tolerance,
        focal_length=args.focal_length,
    )
    with BagReader(args.path) as bag:
        try:
            topics = find_topics(
                bag,
                image=args.image_topic,
                camera_info=args.camera_info_topic,
                truth={task: getattr(args, f'{task}_truth_topic') for task in TASKS},
            )
        except AmbiguousTopicError as err:
            msg = f'{err}; choose one with --image-topic'
            raise BagError(msg) from err
        frames = BagFrames(bag, topics, selection)
        bag_error = (_replay_live if args.live else _replay)(frames, args)
    for note in frames.notes():
        print(f'note      {note}')
    if frames.tally.uncalibrated:
        print('note      --focal-length sets the focal length of frames without CameraInfo')
    print(f'written to {args.output}')
    if bag_error is not None:
        raise bag_error  # the figures are complete, but the requested bag is missing
    return 0


def _replay(frames: 'BagFrames', args: argparse.Namespace) -> OSError | None:
    from mtl_perception.bags.replay import replay, write_report

    predictor = options.make_predictor(args)
    bag = args.output / 'bag' if args.bag else None
    replayed = replay(frames, predictor, args.output, bag=bag)
    write_report(args.output, replayed, frames)
    print(replayed)
    return replayed.bag_error


def _replay_live(frames: 'BagFrames', args: argparse.Namespace) -> None:
    import os

    from mtl_perception.live.recorder import recording
    from mtl_perception.live.replay import recorded_topics, replay_and_evaluate
    from mtl_perception.ros.transport import transport_environment

    # A result of the node is complete when all its topics have arrived.
    predictor = options.make_predictor(args, TASKS)
    os.environ.update(transport_environment(os.environ))
    with recording(recorded_topics(args.node), args.node) as recorder:
        replayed, delivery = replay_and_evaluate(
            frames, predictor, args.output, recorder, rate=args.rate, keep_bag=args.bag
        )
    print(f'{replayed}\n{delivery}')
    print(f'identical {replayed.identical} of {len(replayed.rows)} results to the predictor')
