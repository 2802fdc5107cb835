# SPDX-License-Identifier: Apache-2.0
"""Measure the speed and quality of a part of this package, compared with alternatives.

Alternatives run in turns in one process, so that their ratio also holds on a noisy machine.

Examples:
  mtl benchmark instances
  mtl benchmark instances --checkpoint out/train/model.safetensors --limit 10 --json figures.json
  mtl benchmark network --size 256x352 --compare
  mtl benchmark node --size 720x1280 --compare
  mtl benchmark training --config config/train_cityscapes.yaml --data.root /data/cityscapes
"""

import argparse
import inspect
from pathlib import Path
from typing import Any, Protocol

from mtl_perception.commands import options


class Benchmark(Protocol):
    """Result of a benchmark; ``str`` returns it as a table."""

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl benchmark``, with a subcommand for each subject."""
    subparsers = parser.add_subparsers(dest='subject', metavar='SUBJECT', required=True)
    for name, (summary, add, run) in SUBJECTS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=inspect.getdoc(run),
            formatter_class=options.HelpFormatter,
        )
        options.add_json(subparser)
        add(subparser)
        subparser.set_defaults(run=run)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl benchmark``."""
    from mtl_perception.files import make_folder, write_json

    if args.json is not None:
        make_folder(args.json.parent)
    benchmark = args.run(args)
    print(benchmark)
    if args.json is not None:
        write_json(args.json, {'subject': args.subject, **benchmark.figures()})
    return 0


def _add_network(parser: argparse.ArgumentParser) -> None:
    options.add_checkpoint(parser)
    options.add_network_size(parser)
    options.add_count(parser, '--repetitions', 30, 'timed runs of each')
    parser.add_argument(
        '--compare',
        action='store_true',
        help='also time the other runtimes, eager PyTorch, and a network for each task',
    )


def _run_network(args: argparse.Namespace) -> Benchmark:
    """Measure the speed of the network.

    Times one image from its pixels to its maps, and compares it with the roofline: the time of the
    network's multiplications at the rate at which PyTorch multiplies large matrices of the same
    type, or of its memory traffic if that takes longer. Better kernels can be faster than the
    roofline. The spread is the interquartile range of the times; the ratio is to the first row.
    """
    from mtl_perception.benchmark.network import benchmark_network

    return benchmark_network(
        args.checkpoint,
        device=args.device,
        runtime=args.runtime,
        size=args.size,
        repetitions=args.repetitions,
        compare=args.compare,
    )


def _add_instances(parser: argparse.ArgumentParser) -> None:
    options.add_checkpoint(parser)
    options.add_limit(parser, 'scenes', 50)
    options.add_seed(parser)
    options.add_count(parser, '--repetitions', 20, 'timed runs, scikit-learn excepted')
    options.add_count(
        parser, '--reference-repetitions', 3, 'timed runs of scikit-learn, which take seconds each'
    )
    options.add_count(parser, '--votes', 10_000, 'votes on which OPTICS is timed')
    options.add_count(parser, '--draws', 300, 'random maps in the search for slow maps')


def _run_instances(args: argparse.Namespace) -> Benchmark:
    """Measure the speed and the AP of the grouping of votes.

    Times OPTICS, exact and on merged votes, in turns with scikit-learn. Searches for the slowest
    maps. Compares official AP and time of three groupings on predictions for unseen synthetic
    streets: this package's grouping, OPTICS on every vote, and peaks of the vote histogram.
    """
    from mtl_perception.benchmark.instances import benchmark_instances, predict_scenes
    from mtl_perception.inference.predictor import Predictor

    with Predictor(
        args.checkpoint, device=args.device, runtime=args.runtime, needs=('instance',)
    ) as predictor:
        print(predictor.description)
        scenes = predict_scenes(predictor, args.seed, args.limit)
    return benchmark_instances(
        scenes,
        seed=args.seed,
        votes=args.votes,
        repetitions=args.repetitions,
        reference_repetitions=args.reference_repetitions,
        draws=args.draws,
    )


def _add_node(parser: argparse.ArgumentParser) -> None:
    options.add_checkpoint(parser)
    options.add_seed(parser)
    parser.add_argument(
        '--size',
        type=options.size,
        default='480x640',
        metavar='HxW',
        help='height x width of the images in pixels',
    )
    parser.add_argument(
        '--rate',
        type=options.positive_float,
        default=30.0,
        metavar='HZ',
        help='rate of the images in Hz',
    )
    parser.add_argument(
        '--seconds',
        type=options.positive_float,
        default=20.0,
        metavar='S',
        help='duration of the measurement in seconds',
    )
    parser.add_argument(
        '--compare',
        action='store_true',
        help='also measure, for as long each, a relay that only copies the image, network and '
        'grouping without ROS, and the node with an image always waiting',
    )


def _run_node(args: argparse.Namespace) -> Benchmark:
    """Measure the speed of the node over DDS.

    Runs a camera with a synthetic street, the node, and a recorder of its semantic, instance and
    depth images as three processes on this machine. Measures the rate, the latency from the
    camera's stamp to the recorder, the time of each stage, and the node's memory, threads and file
    descriptors at start and end. Works on Linux only.
    """
    from mtl_perception.benchmark.node import benchmark_node

    return benchmark_node(
        checkpoint=args.checkpoint,
        device=args.device,
        runtime=args.runtime,
        size=args.size,
        rate=args.rate,
        seconds=args.seconds,
        seed=args.seed,
        compare=args.compare,
    )


def _add_replay(parser: argparse.ArgumentParser) -> None:
    options.add_checkpoint(parser)
    options.add_limit(parser, 'frames', 60)
    options.add_seed(parser)
    options.add_count(parser, '--repetitions', 3, 'timed runs of each')


def _run_replay(args: argparse.Namespace) -> Benchmark:
    """Measure the overhead of a replay.

    Replays a bag of a synthetic street with ground truth, with and without writing the result bag,
    in turns with the predictor alone on the same images.
    """
    from mtl_perception.benchmark.replay import benchmark_replay
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.synthetic import synthetic_drive

    frames = list(synthetic_drive(args.seed, args.limit))
    with Predictor(args.checkpoint, device=args.device, runtime=args.runtime) as predictor:
        return benchmark_replay(predictor, frames, repetitions=args.repetitions)


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE',
        help='configuration of mtl train (default: config/train_synthetic.yaml)',
    )
    options.add_count(parser, '--rounds', 5, 'turns of each')
    options.add_count(parser, '--steps', 10, 'optimizer steps per turn')
    parser.add_argument(
        '--compare', action='store_true', help='also time the network alone in eager float32'
    )
    options.add_overrides(parser)


def _run_training(args: argparse.Namespace) -> Benchmark:
    """Measure the speed of training.

    Times the loop of mtl train (loader, augmentation, Lightning) in turns with the network alone:
    forward, losses, backward and optimizer step on tensors that are already on the device. Options
    of mtl train fit may follow, for example --model.network.encoder resnet18 --data.batch_size 4
    --data.workers 2 --data.cache DIR.
    """
    from mtl_perception.benchmark.training import benchmark_training
    from mtl_perception.resources import share_file

    return benchmark_training(
        args.config or share_file('config', 'train_synthetic.yaml'),
        args.overrides,
        rounds=args.rounds,
        steps=args.steps,
        compare=args.compare,
    )


SUBJECTS = {
    'network': ('measure the speed of the network', _add_network, _run_network),
    'instances': ('measure speed and AP of the grouping of votes', _add_instances, _run_instances),
    'node': ('measure the speed of the node over DDS', _add_node, _run_node),
    'replay': ('measure the overhead of a replay', _add_replay, _run_replay),
    'training': ('measure the speed of training', _add_training, _run_training),
}
"""Summary, function that declares the options, and function that runs the benchmark."""
