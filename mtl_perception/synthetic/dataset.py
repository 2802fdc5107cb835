# SPDX-License-Identifier: Apache-2.0
"""Write synthetic streets as a dataset in the Cityscapes folder layout."""

import multiprocessing
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mtl_perception.data import SPLITS
from mtl_perception.data.cityscapes import IMAGE_SUFFIXES, image_path, pair, write_frame
from mtl_perception.files import make_folder, write_picture
from mtl_perception.labels import COLORS
from mtl_perception.synthetic import frame_name, synthetic_frame

PREVIEW_FRAMES = 12
"""Largest number of frames on a preview."""


def write_dataset(
    root: Path, split: str, frames: int, *, seed: int, height: int, width: int, workers: int
) -> list[Path]:
    """Render the missing frames of a split and return the image paths of all its frames.

    Frames whose image exists are not rendered again. A progress bar goes to standard error.

    Raises:
        ValueError: The split contains images of another size.
        OSError: The folder cannot be created or written.
    """
    make_folder(root)
    seed = split_seed(seed, split)
    images = [image_path(root, split, frame_name(seed, index)) for index in range(frames)]
    _check_size(images[0].parent, height, width)
    missing = [index for index, image in enumerate(images) if not image.is_file()]
    if missing:
        render = partial(_render, root, split, seed, height, width)
        # Compiles the renderer; the worker processes load it from the cache of numba.
        render(missing[0])
        with (
            multiprocessing.get_context('spawn').Pool(workers, cv2.setNumThreads, (1,)) as pool,
            tqdm(total=frames, initial=frames - len(missing) + 1, unit='frame') as bar,
        ):
            for _ in pool.imap_unordered(render, missing[1:], chunksize=4):
                bar.update()
    return images


def split_seed(seed: int, split: str) -> int:
    """Return the seed of the streets in ``split``; no two splits share one."""
    return len(SPLITS) * seed + SPLITS.index(split)


def write_preview(path: Path, images: Sequence[Path]) -> None:
    """Write the first frames next to their coloured labels, two frames per row."""
    frames = (pair(image).read() for image in images[:PREVIEW_FRAMES])
    tiles = [np.hstack([frame.image, COLORS[frame.labels]]) for frame in frames]
    if len(tiles) % 2:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    write_picture(path, np.vstack(rows))


def _check_size(folder: Path, height: int, width: int) -> None:
    # Images of other seeds count; the suffix excludes files that an interrupted run left behind.
    image = next(folder.glob(f'*{IMAGE_SUFFIXES[0]}'), None)
    if image is None:
        return
    found = pair(image).read_image().shape[:2]
    if found != (height, width):
        msg = (
            f'{image} is {found[0]}x{found[1]}, not {height}x{width}; '
            'give that --size, or another --output'
        )
        raise ValueError(msg)


def _render(root: Path, split: str, seed: int, height: int, width: int, index: int) -> None:
    write_frame(root, split, synthetic_frame(seed, index, height=height, width=width))
