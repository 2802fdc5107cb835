"""Measure on a bag: every frame, in order, through the predictor that the node has.

BAG is a rosbag2 folder (MCAP or SQLite, compressed and split ones too) or one of its files; no ROS
is needed to read it. Where it has ground truth on /ground_truth/{semantic,instance,depth}/image
(mtl bag writes such bags), the metrics are those of mtl evaluate. Always measured: rate, latency of
each stage, and how steady labels and depth are from frame to frame along the optical flow.

OUTPUT gets metrics.json; per_frame.csv; frames.png, the worst and the best frames (without ground
truth those whose labels change most and least); and bag/, input and predictions for RViz.

Examples:
  mtl replay drive/ --output out/drive
  mtl replay drive/ --image-topic /front/image_raw --start 60 --duration 30 --every 3
  mtl replay drive/ --live              the running node, which waits for nothing: no frame is lost
  mtl replay drive/ --live --rate 1     the running node in real time: overtaken frames and latency

With --live the images go over ROS 2 to the node that is running and active already. The predictor
runs here too, afterwards, to compare and for what a node does not publish: give it the node's
checkpoint, device and runtime.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_perception.commands import options
from mtl_perception.tasks import TASKS

if TYPE_CHECKING:
    from mtl_perception.bags.frames import BagFrames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl replay``."""
    parser.add_argument('path', type=Path, metavar='BAG', help='folder of a bag, or its file')
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
        '--image-topic',
        metavar='TOPIC',
        help='of the images, raw or compressed (default: the only one)',
    )
    topics.add_argument(
        '--camera-info-topic',
        metavar='TOPIC',
        help='of their CameraInfo (default: camera_info beside the images)',
    )
    for task in TASKS:
        topics.add_argument(
            f'--{task}-truth-topic',
            metavar='TOPIC',
            help=f'of the ground truth (default: /ground_truth/{task}/image, if it is there)',
        )
    topics.add_argument(
        '--tolerance',
        type=options.non_negative_float,
        default=0.005,
        metavar='S',
        help='largest difference between the stamps of an image and its ground truth '
        '(default: %(default)s)',
    )
    options.add_focal_length(topics)
    part = parser.add_argument_group('part of the bag')
    part.add_argument(
        '--start',
        type=options.non_negative_float,
        default=0.0,
        metavar='S',
        help='skip the first S seconds',
    )
    part.add_argument(
        '--duration', type=options.positive_float, metavar='S', help='replay S seconds'
    )
    part.add_argument(
        '--every', type=options.positive_int, default=1, metavar='N', help='every Nth image only'
    )
    live = parser.add_argument_group('running node')
    live.add_argument(
        '--live', action='store_true', help='send the images to the running node, one by one'
    )
    live.add_argument(
        '--rate',
        type=options.positive_float,
        metavar='R',
        help="with --live: send them in real time, R times as fast, whether or not it's ready",
    )
    live.add_argument(
        '--node',
        default='/mtl_perception',
        metavar='NAME',
        help='with --live: name of the node (default: %(default)s)',
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl replay``."""
    import cv2

    from mtl_perception.bags.frames import BagFrames, Selection
    from mtl_perception.bags.reader import BagError, BagReader
    from mtl_perception.bags.topics import AmbiguousTopicError, find_topics
    from mtl_perception.files import make_folder

    if args.rate is not None and not args.live:
        msg = '--rate is the speed at which --live sends; offline the network sets the pace'
        raise ValueError(msg)
    make_folder(args.output)
    cv2.setNumThreads(1)  # the other cores are the network's
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
    from mtl_perception.bags.replay import write_report
    from mtl_perception.live.replay import replay_and_evaluate

    # A result of the node is complete when all its topics have arrived.
    predictor = options.make_predictor(args, TASKS)
    replayed, fates = replay_and_evaluate(
        frames, predictor, args.output, args.node, rate=args.rate, keep_bag=args.bag
    )
    write_report(args.output, replayed, frames, delivery=fates.figures(), latencies=fates.latencies)
    print(f'{replayed}\n{fates.table()}')
    print(f'identical {replayed.identical} of {len(replayed.rows)} to the predictor here')
