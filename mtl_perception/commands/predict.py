"""Turn a picture, a folder of pictures or a video into overview pictures and raw maps.

For every image NAME, OUTPUT/NAME.png shows input, labels, instances, depth and overlay side by
side. The maps themselves, at the size of the image, go to OUTPUT/raw:
  NAME_labels.png      8 bits: Cityscapes label ID
  NAME_instances.png   16 bits: label · 1000 + k on instances, the bare label ID elsewhere
  NAME_depth.png       16 bits: metres · 256; 0 is unknown, 65535 too far to tell
  NAME_instances.json  class, score and distance of every instance

Examples:
  mtl predict street.jpg
  mtl predict drive.mp4 --focal-length 1150 --limit 300 --output out/drive
  mtl predict pictures/ --no-raw
  mtl predict street.jpg --explain

With --explain, OUTPUT/NAME_explained.png shows how pixels became instances: the votes over the
image, and the reachability plot of each class with the cut.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Sized

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl predict``."""
    parser.add_argument(
        'source',
        metavar='SOURCE',
        help='picture, folder of pictures, video, camera device, or synthetic',
    )
    options.add_checkpoint(parser)
    options.add_params_file(parser)
    options.add_limit(parser, 'images')
    options.add_output(parser, 'out/predict')
    options.add_focal_length(parser, 'all images, in place of what their source states')
    parser.add_argument(
        '--raw',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='write the raw maps too (default: yes)',
    )
    parser.add_argument(
        '--explain',
        action='store_true',
        help='also draw votes, reachability plots and the instances that came of them',
    )


def main(args: argparse.Namespace) -> int:
    """Run ``mtl predict``."""
    from tqdm import tqdm

    from mtl_perception.files import make_folder, write_picture
    from mtl_perception.pictures.sheets import overview_row, overview_sheet
    from mtl_perception.prediction import write_raw_maps
    from mtl_perception.sources import open_source
    from mtl_perception.tasks.instance import explain_grouping

    if args.explain:
        # Not above: matplotlib takes a while to import.
        from mtl_perception.pictures.grouping import draw_explanation
    source = open_source(args.source)
    make_folder(args.output)
    predictor = options.make_predictor(args, ('instance',) if args.explain else ())
    seconds: list[float] = []
    names: set[str] = set()
    is_assumed = False
    images = itertools.islice(source, args.limit)
    for image in tqdm(images, total=_total(source, args.limit), unit='image', disable=None):
        start = time.perf_counter()
        stated = image.camera and image.camera.fy
        focal_length = args.focal_length or stated
        prediction = predictor.predict(image.image, focal_length)
        seconds.append(time.perf_counter() - start)
        name = _unused(image.name, names)
        row = overview_row(image.image, prediction)
        write_picture(args.output / f'{name}.png', overview_sheet([row]))
        if args.raw:
            maps = prediction.resized(*image.image.shape[:2])
            write_raw_maps(args.output / 'raw', name, maps)
        if args.explain and prediction.offsets is not None:
            grouping = explain_grouping(
                prediction.labels, prediction.confidence, prediction.offsets, predictor.grouping
            )
            picture = draw_explanation(image.image, grouping)
            write_picture(args.output / f'{name}_explained.png', picture)
        is_assumed |= focal_length is None
    unreadable = getattr(source, 'unreadable', 0)
    if not seconds:
        msg = f'{args.source}: none of its images could be read'
        raise ValueError(msg)
    print(
        f'{len(seconds)} images in {args.output}, {1 / statistics.median(seconds):.1f} frames/s'
        + (f'; {unreadable} could not be read' if unreadable else '')
    )
    if is_assumed and 'depth' in predictor.tasks:
        print(options.ASSUMED_FOCAL_LENGTH)
    return 0


def _total(source: Sized, limit: int | None) -> int | None:
    """Return how many images will come, ``None`` if the source does not know."""
    known = len(source) or None
    return min(known, limit) if known and limit else known or limit


def _unused(name: str, names: set[str]) -> str:
    """Return ``name``, numbered if a picture of another folder already has it."""
    candidates = itertools.chain([name], (f'{name}_{i}' for i in itertools.count(2)))
    unused = next(candidate for candidate in candidates if candidate not in names)
    names.add(unused)
    return unused
