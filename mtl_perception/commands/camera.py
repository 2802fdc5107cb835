# SPDX-License-Identifier: Apache-2.0
"""Publish images as a ROS 2 camera: image, camera_info and, with --compressed, image/compressed.

SOURCE is a picture, a folder of pictures, a video file, a camera device (its number or /dev/videoN)
or 'synthetic', a rendered street.

Examples:
  mtl camera synthetic --topic /camera/image_raw     topic that mtl.launch.py subscribes to
  mtl camera drive.mp4 --focal-length 1150 --topic /camera/image_raw
"""

import argparse
import contextlib
import itertools
import os
from collections.abc import Iterable

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl camera``."""
    parser.add_argument('source', metavar='SOURCE', help='source of the images, see above')
    parser.add_argument(
        '--rate', type=options.positive_float, default=30.0, metavar='HZ', help='images per second'
    )
    parser.add_argument(
        '--frame-id', default='camera', metavar='NAME', help='name of the optical frame'
    )
    parser.add_argument('--namespace', default='', metavar='NAME', help='namespace (default: none)')
    parser.add_argument(
        '--topic',
        default='image',
        help='topic of the images; mtl.launch.py subscribes to /camera/image_raw',
    )
    parser.add_argument(
        '--camera-info-topic',
        default='',
        metavar='TOPIC',
        help='topic of the CameraInfo (default: camera_info next to the images)',
    )
    options.add_focal_length(parser, default='unknown: no CameraInfo')
    parser.add_argument(
        '--compressed', action='store_true', help='publish JPEG images too, if subscribed to'
    )
    parser.add_argument(
        '--once', dest='loop', action='store_false', help='end with the source; do not restart'
    )
    parser.add_argument(
        '--count', type=options.positive_int, metavar='N', help='end after N frames'
    )
    parser.add_argument(
        '--size',
        type=options.size,
        metavar='HxW',
        help='height and width of the synthetic street (default: 480x640)',
    )
    parser.add_argument(
        '--wait-for-subscriber',
        action='store_true',
        help='wait for a subscriber before the first image',
    )
    options.add_seed(parser)


def main(args: argparse.Namespace) -> int:
    """Publish until the source ends or the user stops it."""
    import rclpy
    from tqdm import tqdm

    from mtl_perception.ros.camera import CameraNode
    from mtl_perception.ros.transport import transport_environment
    from mtl_perception.sources import SYNTHETIC, open_source

    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end a camera
        source = open_source(args.source, size=args.size, seed=args.seed)
        images: Iterable = source
        if args.source == SYNTHETIC:  # rendering is slower than a camera
            total = min(len(source), args.count or len(source))
            frames = itertools.islice(source, total)
            images = list(tqdm(frames, 'rendering', total, unit='frame', leave=False))
        os.environ.update(transport_environment(os.environ))
        rclpy.init(args=[])
        try:
            camera = CameraNode(
                images,
                rate=args.rate,
                frame_id=args.frame_id,
                topic=args.topic,
                camera_info_topic=args.camera_info_topic,
                focal_length=args.focal_length,
                compressed=args.compressed,
                loop=args.loop,
                count=args.count,
                wait_for_subscriber=args.wait_for_subscriber,
                namespace=args.namespace,
            )
            camera.get_logger().info(f'publishing {args.source} at {args.rate:g} Hz')
            camera.run()
        finally:
            rclpy.try_shutdown()
    return 0
