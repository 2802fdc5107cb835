# SPDX-License-Identifier: Apache-2.0
"""Options of several commands, each with one spelling and one meaning."""

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
    "focal length unknown: depth is metric for Cityscapes' field of view only; set --focal-length"
)
"""Note on the depth of images without calibration."""

SMALLEST = 32
"""Smallest height and width of rendered pictures and of the network input, in pixels."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Formatter that keeps the layout of the description and appends defaults to help texts.

    It appends none to a flag, to an option without a default, or to a text that names its default.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if isinstance(action.default, bool | None) or '(default:' in str(action.help):
            return action.help
        return super()._get_help_string(action)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``--checkpoint``, ``--device`` and ``--runtime``."""
    add_checkpoint_file(parser)
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--runtime',
        default='auto',
        help='runtime of the network: auto (fastest on the device), torch, cuda_graph or openvino',
    )


def add_params_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--params-file``, the node's parameters for ``make_predictor``."""
    parser.add_argument(
        '--params-file',
        type=Path,
        metavar='FILE',
        help='parameter file of the node to read max_depth and instance.* from, for example '
        'config/node.yaml or the output of ros2 param dump (default: their defaults)',
    )


def make_predictor(args: argparse.Namespace, needs: Collection[str] = ()) -> 'Predictor':
    """Return the predictor of the command's options and print its description.

    Raises:
        ValueError: An option is invalid, or the network lacks a task in ``needs``.
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
    """Add ``--checkpoint``."""
    parser.add_argument(
        '--checkpoint',
        type=checkpoint_path,
        default=EMBEDDED_CHECKPOINTS[0],
        metavar='FILE',
        help=f'.safetensors file or embedded checkpoint: {" or ".join(EMBEDDED_CHECKPOINTS)}',
    )


def add_network_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``, the network input; ``None`` is the checkpoint's size."""
    parser.add_argument(
        '--size',
        type=size,
        metavar='HxW',
        help="height and width of the network's input, multiples of 32 (default: the height of "
        'the training, and twice that as width)',
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add ``--split``."""
    parser.add_argument(
        '--split', default='val', metavar='NAME', help='split of the dataset: train, val or test'
    )


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--output``, the folder for results."""
    parser.add_argument(
        '--output', type=Path, default=Path(default), metavar='DIR', help='folder for the results'
    )


def add_limit(parser: argparse.ArgumentParser, what: str, default: int | None = None) -> None:
    """Add ``--limit``, the number of ``what`` to use; ``None`` is all."""
    parser.add_argument(
        '--limit',
        type=positive_int,
        default=default,
        metavar='N',
        help=f'use only the first N {what}',
    )


def add_count(parser: argparse.ArgumentParser, option: str, default: int, what: str) -> None:
    """Add ``option``, such as ``--repetitions``: the number of ``what``, at least 1."""
    parser.add_argument(
        option, type=positive_int, default=default, metavar='N', help=f'number of {what}'
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='random seed')


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Collect further options, for ``mtl train fit``, as ``overrides``."""
    parser.set_defaults(overrides=[])


def add_focal_length(
    parser: argparse._ActionsContainer,
    images: str = 'images of unknown focal length',
    default: str = "Cityscapes' field of view",
) -> None:
    """Add ``--focal-length`` of ``images``; ``None`` is unknown and has the effect ``default``."""
    parser.add_argument(
        '--focal-length',
        type=positive_float,
        metavar='PX',
        help=f'vertical focal length of {images}, in pixels; depth is proportional to it '
        f'(default: {default})',
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, a file for the printed figures."""
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the figures to FILE')


def size(text: str) -> tuple[int, int]:
    """Parse ``HEIGHTxWIDTH`` in pixels, as an argparse ``type``."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or min(map(int, match.groups())) < SMALLEST:
        msg = f'{text!r} is not HEIGHTxWIDTH, at least {SMALLEST}x{SMALLEST}, for example 256x512'
        raise argparse.ArgumentTypeError(msg)
    return int(match[1]), int(match[2])


def picture_file(text: str) -> Path:
    """Parse the path of a picture to write, as an argparse ``type``."""
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
