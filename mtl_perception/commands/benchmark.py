"""Measure how fast and how good a part of this package is, beside its peers.

Alternatives run in turns in one process, so that their ratio holds on a noisy machine too.

Examples:
  mtl benchmark instances
  mtl benchmark instances --checkpoint out/train/model.safetensors --limit 10 --json figures.json
  mtl benchmark network --size 256x352 --compare
  mtl benchmark node --size 720x1280 --compare
  mtl benchmark training --config config/train_cityscapes.yaml --data.root /data/cityscapes
"""

import argparse
from pathlib import Path
from typing import Any

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl benchmark``, a subcommand for each subject."""
    subjects = parser.add_subparsers(dest='subject', metavar='SUBJECT', required=True)
    _add_network(subjects)
    _add_instances(subjects)
    _add_node(subjects)
    _add_replay(subjects)
    _add_training(subjects)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl benchmark``."""
    from mtl_perception.files import make_folder, write_json

    if args.json is not None:
        make_folder(args.json.parent)
    figures, text = args.run(args)
    print(text)
    if args.json is not None:
        write_json(args.json, {'subject': args.subject, **figures})
    return 0


def _add_subject(
    subjects: Any, name: str, run: Any, summary: str, details: str
) -> argparse.ArgumentParser:
    parser = subjects.add_parser(
        name,
        help=summary,
        description=f'Measure {summary}.\n\n{details}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    options.add_json(parser)
    return parser


def _add_network(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'network',
        _run_network,
        'how fast the network is',
        """One image at a time, from its pixels to its maps, beside the roofline: the operations of
the network at the rate at which PyTorch multiplies large matrices of the same type, which better
kernels can undercut.
The spread is that of the middle half of the times; the ratio is to the first row.""",
    )
    options.add_checkpoint(parser)
    options.add_network_size(parser)
    options.add_count(parser, '--repetitions', 30, 'timed runs of each')
    parser.add_argument(
        '--compare',
        action='store_true',
        help='also the other runtimes of the device, eager PyTorch in float32 and bfloat16, and '
        'three single-task networks with the same encoder',
    )


def _run_network(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.network import benchmark_network, table

    figures = benchmark_network(
        args.checkpoint,
        device=args.device,
        runtime=args.runtime,
        size=args.size,
        repetitions=args.repetitions,
        compare=args.compare,
    )
    return figures, table(figures)


def _add_instances(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'instances',
        _run_instances,
        'speed and AP of the grouping of votes',
        """OPTICS beside scikit-learn's, exact and on merged votes; the slowest maps that a search
finds; and, on what the network says of synthetic streets that it was never trained on, official AP
and time of this package's grouping, of OPTICS on every vote and of peaks of the vote histogram.""",
    )
    options.add_checkpoint(parser)
    options.add_limit(parser, 'scenes (default: 50)')
    options.add_seed(parser)
    options.add_count(parser, '--repetitions', 20, 'timed runs, scikit-learn excepted')
    options.add_count(
        parser, '--reference-repetitions', 3, 'timed runs of scikit-learn, which take seconds each'
    )
    options.add_count(parser, '--votes', 10_000, 'votes on which OPTICS is timed')
    options.add_count(parser, '--draws', 300, 'random maps in the search for slow maps')


def _run_instances(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.instances import benchmark_instances, scenes_of, table
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.synthetic import synthetic_frame
    from mtl_perception.synthetic.dataset import split_seed

    predictor = Predictor(
        args.checkpoint, device=args.device, runtime=args.runtime, needs=('instance',)
    )
    print(predictor.description)
    limit = args.limit or 50
    unseen = split_seed(args.seed, 'test')
    frames = (synthetic_frame(unseen, index) for index in range(limit))
    scenes = scenes_of(predictor, frames, limit)
    predictor.close()
    figures = benchmark_instances(
        scenes,
        seed=args.seed,
        votes=args.votes,
        repetitions=args.repetitions,
        reference_repetitions=args.reference_repetitions,
        draws=args.draws,
    )
    return figures, table(figures)


def _add_node(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'node',
        _run_node,
        'the node over DDS',
        """A camera that films a synthetic street, the node, and a recorder of its semantic,
instance and depth images, in three processes on this machine: rate, latency from the camera's stamp
to the recorder, milliseconds of each stage, what the node holds at start and end. Linux alone.""",
    )
    options.add_checkpoint(parser)
    options.add_seed(parser)
    parser.add_argument(
        '--size',
        type=options.size,
        default=(480, 640),
        metavar='HxW',
        help='height x width of the images (default: 480x640)',
    )
    parser.add_argument(
        '--rate',
        type=options.positive_float,
        default=30.0,
        metavar='HZ',
        help='images a second (default: %(default)s)',
    )
    parser.add_argument(
        '--seconds',
        type=options.positive_float,
        default=20.0,
        metavar='S',
        help='how long to measure (default: %(default)s)',
    )
    parser.add_argument(
        '--compare',
        action='store_true',
        help='as long each: a relay that only copies the image, network and grouping without ROS, '
        'and the node with an image always waiting',
    )


def _run_node(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.node import benchmark_node, table

    figures = benchmark_node(
        checkpoint=args.checkpoint,
        device=args.device,
        runtime=args.runtime,
        size=args.size,
        rate=args.rate,
        seconds=args.seconds,
        seed=args.seed,
        compare=args.compare,
    )
    return figures, table(figures)


def _add_replay(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'replay',
        _run_replay,
        'what a replay adds to the network',
        """A bag of a synthetic street with ground truth, replayed with and without writing the
result bag, and the same images through the predictor alone, in turns.""",
    )
    options.add_checkpoint(parser)
    options.add_limit(parser, 'frames (default: 60)')
    options.add_seed(parser)
    options.add_count(parser, '--repetitions', 3, 'timed runs of each')


def _run_replay(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.replay import benchmark_replay
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.synthetic import synthetic_drive

    frames = list(synthetic_drive(args.seed, args.limit or 60))
    predictor = Predictor(args.checkpoint, device=args.device, runtime=args.runtime)
    result = benchmark_replay(predictor, frames, repetitions=args.repetitions)
    predictor.close()
    return result.figures(), str(result)


def _add_training(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'training',
        _run_training,
        'how many samples a second are trained on',
        """The loop of mtl train (loader, augmentation, Lightning) in turns with the network alone:
forward, losses, backward and optimizer step on tensors that are already on the device. Options of
mtl train fit may follow: --model.network.encoder resnet18 --data.batch_size 4 --data.workers 2
--data.cache DIR, for example.""",
    )
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


def _run_training(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.training import benchmark_training, table
    from mtl_perception.resources import share_file

    figures = benchmark_training(
        args.config or share_file('config', 'train_synthetic.yaml'),
        args.overrides,
        rounds=args.rounds,
        steps=args.steps,
        compare=args.compare,
    )
    return figures, table(figures)
