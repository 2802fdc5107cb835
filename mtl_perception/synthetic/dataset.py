"""Synthetic streets as a dataset in the Cityscapes folder layout."""

from pathlib import Path

from mtl_perception.data import SPLITS

PREVIEW_FRAMES = 12


def split_seed(seed: int, split: str) -> int:
    """Return the seed of the streets that ``split`` has for ``--seed``, its own for each split."""
    return len(SPLITS) * seed + SPLITS.index(split)


def start_worker() -> None:
    """Keep OpenCV to one thread in a process that renders."""
    import cv2

    cv2.setNumThreads(1)


def render_to(job: tuple[Path, str, int, int, int, int]) -> None:
    """Render one frame: root, split, seed, index, height, width."""
    from mtl_perception.data.cityscapes import write_frame
    from mtl_perception.synthetic import synthetic_frame

    root, split, seed, index, height, width = job
    write_frame(root, split, synthetic_frame(seed, index, height=height, width=width))


def check_size(image: Path, height: int, width: int) -> None:
    """Refuse to add frames of one size to frames of another."""
    from mtl_perception.data.cityscapes import pair

    there = pair(image).read_image().shape[:2]
    if there != (height, width):
        msg = (
            f'{image} is {there[0]}x{there[1]}, not {height}x{width}; '
            'give that --size, or another --output'
        )
        raise ValueError(msg)


def write_preview(path: Path, images: list[Path]) -> None:
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
