"""Options that several commands share, so that each has one spelling and one meaning."""

import argparse
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_perception.resources import EMBEDDED_CHECKPOINTS, checkpoint_path

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Predictor

ASSUMED_FOCAL_LENGTH = (
    "focal length unknown: depth is right for Cityscapes' field of view only; give --focal-length"
)
"""Note on depth of images without calibration."""

SMALLEST = 32
"""Rows and columns of the smallest picture that is rendered, and of the smallest network input."""


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint``, ``--device`` and ``--runtime``: which network, and what runs it."""
    add_checkpoint_file(parser)
    parser.add_argument(
        '--device',
        default='auto',
        metavar='DEVICE',
        help='auto, cpu, cuda or cuda:N (default: %(default)s)',
    )
    parser.add_argument(
        '--runtime',
        default='auto',
        metavar='RUNTIME',
        help='what runs the network: auto (the fastest on the device), torch, cuda_graph or '
        'openvino (default: %(default)s)',
    )


def add_params_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--params-file``: the node's parameters, for ``make_predictor``."""
    parser.add_argument(
        '--params-file',
        type=Path,
        metavar='FILE',
        help="take max_depth and instance.* from the node's parameter file, such as "
        'config/node.yaml or what ros2 param dump writes (default: their defaults)',
    )


def make_predictor(args: argparse.Namespace, needs: Collection[str] = ()) -> 'Predictor':
    """Return, and print, what ``--checkpoint``, ``--device`` and the like ask for.

    Raises:
        ValueError: it cannot be used, or lacks a task that the command needs.
    """
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.inference.settings import read_parameters

    tuned = read_parameters(args.params_file) if args.params_file else {}
    predictor = Predictor(
        args.checkpoint, device=args.device, runtime=args.runtime, needs=needs, **tuned
    )
    print(predictor.description)
    return predictor


def add_checkpoint_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint`` alone: which network."""
    parser.add_argument(
        '--checkpoint',
        type=checkpoint_path,
        default=EMBEDDED_CHECKPOINTS[0],
        metavar='FILE',
        help='.safetensors file, or an embedded checkpoint: '
        f'{" or ".join(EMBEDDED_CHECKPOINTS)} (default: %(default)s)',
    )


def add_network_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``: of what the network sees, ``None`` for the checkpoint's own."""
    parser.add_argument(
        '--size',
        type=size,
        metavar='HxW',
        help="height x width of the network's input, multiples of 32 (default: the height that "
        'the checkpoint was trained for, and twice that)',
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--split``: which dataset."""
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        metavar='DIR',
        help='dataset in the Cityscapes folder layout',
    )
    add_split(parser)


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add ``--split``: which part of a dataset."""
    parser.add_argument(
        '--split',
        default='val',
        metavar='NAME',
        help='sub-folder of the dataset: train, val or test (default: %(default)s)',
    )


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--output``: the folder that results are written to."""
    parser.add_argument(
        '--output',
        type=Path,
        default=Path(default),
        metavar='DIR',
        help='folder for the results (default: %(default)s)',
    )


def add_limit(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--limit``: stop after so many."""
    parser.add_argument(
        '--limit', type=positive_int, metavar='N', help=f'use only the first N {what}'
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='seed of everything random (default: %(default)s)',
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let options of ``mtl train fit`` follow, which are collected as ``overrides``."""
    parser.set_defaults(overrides=[])


def add_focal_length(
    parser: argparse._ActionsContainer, images: str = 'images whose source states none'
) -> None:
    """Add ``--focal-length``, ``None`` where it is unknown.

    Args:
        parser: Parser or group.
        images: Images that it applies to, as text.
    """
    parser.add_argument(
        '--focal-length',
        type=positive_float,
        metavar='PX',
        help=f"vertical focal length in pixels of {images} (default: Cityscapes' field of view); "
        'depth scales with it',
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``: the printed table as a file too."""
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='also write the figures to this file'
    )


def size(text: str) -> tuple[int, int]:
    """Parse ``HEIGHTxWIDTH`` in pixels, as an argparse ``type``."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or min(map(int, match.groups())) < SMALLEST:
        msg = f'{text!r} is not HEIGHTxWIDTH of at least {SMALLEST}x{SMALLEST}, such as 256x512'
        raise argparse.ArgumentTypeError(msg)
    return int(match[1]), int(match[2])


def picture_file(text: str) -> Path:
    """Parse the name of a picture to write, as an argparse ``type``."""
    path = Path(text)
    if path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        msg = f'{text!r} does not end in .png or .jpg'
        raise argparse.ArgumentTypeError(msg)
    return path


def positive_int(text: str) -> int:
    """Parse a positive integer, as an argparse ``type``."""
    if not text.isdecimal() or not int(text):
        msg = f'{text!r} is not a positive whole number'
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def positive_float(text: str) -> float:
    """Parse a positive number, as an argparse ``type``."""
    value = _number(text)
    if not 0 < value < math.inf:
        msg = f'{text!r} is not a positive number'
        raise argparse.ArgumentTypeError(msg)
    return value


def non_negative_float(text: str) -> float:
    """Parse a number of at least 0, as an argparse ``type``."""
    value = _number(text)
    if not 0 <= value < math.inf:
        msg = f'{text!r} is not a number of at least 0'
        raise argparse.ArgumentTypeError(msg)
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
