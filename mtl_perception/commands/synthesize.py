"""Render synthetic streets with exact ground truth, as a dataset in the Cityscapes folder layout.

Every frame follows from the seed, the split, its number and the size alone, so a run that was
interrupted goes on where it stopped, and more frames of the same set are had by asking for more.
The splits never share a street: train, val and test draw from three different sets for every seed.

For example:

  mtl synthesize --output streets --split train --frames 10000 --workers 8
  mtl synthesize --output streets --split val --frames 500 --preview streets/preview.png
"""

import argparse

from mtl_perception.commands.options import (
    add_output,
    add_seed,
    picture_file,
    positive_int,
    size,
)
from mtl_perception.data import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to ``parser``."""
    add_output(parser, 'out/synthetic')
    parser.add_argument(
        '--split', choices=SPLITS, default='train', help='split to write (default: %(default)s)'
    )
    parser.add_argument(
        '--frames',
        type=positive_int,
        default=1000,
        metavar='N',
        help='total number of frames in the split (default: %(default)s)',
    )
    add_seed(parser)
    parser.add_argument(
        '--size',
        type=size,
        default=(256, 512),
        metavar='HxW',
        help='height and width of the pictures in pixels (default: 256x512)',
    )
    parser.add_argument(
        '--workers',
        type=positive_int,
        default=1,
        metavar='N',
        help='processes that render (default: %(default)s)',
    )
    parser.add_argument(
        '--preview',
        type=picture_file,
        metavar='FILE',
        help='also write a sheet of the first frames, .png or .jpg',
    )


def main(args: argparse.Namespace) -> int:
    """Render the frames that are not there yet; return the exit status."""
    import multiprocessing

    from tqdm import tqdm

    from mtl_perception.data.cityscapes import IMAGE_SUFFIXES, image_path
    from mtl_perception.files import make_folder
    from mtl_perception.synthetic import frame_name
    from mtl_perception.synthetic.dataset import (
        PREVIEW_FRAMES,
        check_size,
        render_to,
        split_seed,
        start_worker,
        write_preview,
    )

    seed = split_seed(args.seed, args.split)
    height, width = args.size
    make_folder(args.output)
    images = [
        image_path(args.output, args.split, frame_name(seed, index)) for index in range(args.frames)
    ]
    # Of any seed, and none that an interrupted run left half written.
    there = next(images[0].parent.glob(f'*{IMAGE_SUFFIXES[0]}'), None)
    if there is not None:
        check_size(there, height, width)
    jobs = [
        (args.output, args.split, seed, index, height, width)
        for index, image in enumerate(images)
        if not image.is_file()
    ]
    context = multiprocessing.get_context('spawn')
    if jobs:
        render_to(jobs[0])
        with (
            context.Pool(args.workers, start_worker) as pool,
            tqdm(total=args.frames, initial=args.frames - len(jobs) + 1, unit='frame') as bar,
        ):
            for _ in pool.imap_unordered(render_to, jobs[1:], chunksize=4):
                bar.update()
    if args.preview:
        write_preview(args.preview, images[:PREVIEW_FRAMES])
    print(f'{args.frames} frames in {images[0].parent}')
    return 0
