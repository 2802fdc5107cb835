"""Render synthetic streets with exact ground truth, as a dataset in the Cityscapes folder layout.

Every frame follows from the seed, the split, its number and the size alone, so a run that was
interrupted goes on where it stopped, and more frames of the same set are had by asking for more.
The splits never share a street: train, val and test draw from three different sets for every seed.

For example:

  mtl synthesize --output streets --split train --frames 10000 --workers 8
  mtl synthesize --output streets --split val --frames 500 --preview streets/preview.png
"""

import argparse
from pathlib import Path

from mtl_perception.commands.options import (
    add_output,
    add_seed,
    picture_file,
    positive_int,
    size,
)

SPLITS = ('train', 'val', 'test')

PREVIEW_FRAMES = 12


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


def split_seed(seed: int, split: str) -> int:
    """Return the seed of the streets that ``split`` has for ``--seed``, its own for each split."""
    return len(SPLITS) * seed + SPLITS.index(split)


def main(args: argparse.Namespace) -> int:
    """Render the frames that are not there yet; return the exit status."""
    import multiprocessing

    from tqdm import tqdm

    from mtl_perception.data.cityscapes import IMAGE_SUFFIXES, image_path
    from mtl_perception.data.synthetic import frame_name
    from mtl_perception.files import make_folder

    seed = split_seed(args.seed, args.split)
    height, width = args.size
    make_folder(args.output)
    images = [
        image_path(args.output, args.split, frame_name(seed, index)) for index in range(args.frames)
    ]
    # Of any seed, and none that an interrupted run left half written.
    there = next(images[0].parent.glob(f'*{IMAGE_SUFFIXES[0]}'), None)
    if there is not None:
        _check_size(there, height, width)
    jobs = [
        (args.output, args.split, seed, index, height, width)
        for index, image in enumerate(images)
        if not image.is_file()
    ]
    context = multiprocessing.get_context('spawn')
    if jobs:
        _render(jobs[0])
        with (
            context.Pool(args.workers, _start_worker) as pool,
            tqdm(total=args.frames, initial=args.frames - len(jobs) + 1, unit='frame') as bar,
        ):
            for _ in pool.imap_unordered(_render, jobs[1:], chunksize=4):
                bar.update()
    if args.preview:
        _write_preview(args.preview, images[:PREVIEW_FRAMES])
    print(f'{args.frames} frames in {images[0].parent}')
    return 0


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)


def _render(job: tuple[Path, str, int, int, int, int]) -> None:
    from mtl_perception.data.cityscapes import write_frame
    from mtl_perception.data.synthetic import synthetic_frame

    root, split, seed, index, height, width = job
    write_frame(root, split, synthetic_frame(seed, index, height=height, width=width))


def _check_size(image: Path, height: int, width: int) -> None:
    """Refuse to add frames of one size to frames of another."""
    from mtl_perception.data.cityscapes import pair

    there = pair(image).read_image().shape[:2]
    if there != (height, width):
        msg = (
            f'{image} is {there[0]}x{there[1]}, not {height}x{width}; '
            'give that --size, or another --output'
        )
        raise ValueError(msg)


def _write_preview(path: Path, images: list[Path]) -> None:
    """Write pictures and their labels' colours side by side, two frames a row."""
    import numpy as np

    from mtl_perception.data.cityscapes import pair
    from mtl_perception.files import write_picture
    from mtl_perception.labels import COLORS

    frames = (pair(image).read() for image in images)
    tiles = [np.hstack([frame.image, COLORS[frame.labels]]) for frame in frames]
    if len(tiles) % 2:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    write_picture(path, np.vstack(rows))
