"""Measure how fast and how good a part of this package is, beside its peers.

Alternatives run in turns in one process, so that their ratio holds on a noisy machine too.

Examples:
  mtl benchmark instances
  mtl benchmark instances --checkpoint out/train/model.safetensors --limit 10 --json figures.json
"""

import argparse
from typing import Any

from mtl_perception.commands import options
from mtl_perception.commands.synthesize import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl benchmark``, a subcommand for each subject."""
    subjects = parser.add_subparsers(dest='subject', metavar='SUBJECT', required=True)
    _add_instances(subjects)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl benchmark``."""
    from mtl_perception.evaluation.report import write_metrics
    from mtl_perception.files import make_folder

    if args.json is not None:
        make_folder(args.json.parent)
    figures, text = args.run(args)
    print(text)
    if args.json is not None:
        write_metrics(args.json, {'subject': args.subject, **figures})
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


def _add_instances(subjects: Any) -> None:
    parser = _add_subject(
        subjects,
        'instances',
        _run_instances,
        'how votes are grouped',
        """OPTICS beside scikit-learn's, exact and on merged votes; the slowest maps that a search
finds; and, on what the network says of synthetic streets that it was never trained on, official AP
and time of this package's grouping, of OPTICS on every vote and of peaks of the vote histogram.""",
    )
    options.add_checkpoint(parser)
    options.add_limit(parser, 'scenes (default: 50)')
    options.add_seed(parser)
    parser.add_argument(
        '--repetitions',
        type=options.positive_int,
        default=20,
        metavar='N',
        help='how often everything but scikit-learn is timed (default: %(default)s)',
    )
    parser.add_argument(
        '--reference-repetitions',
        type=options.positive_int,
        default=3,
        metavar='N',
        help='how often scikit-learn is timed, at seconds a call (default: %(default)s)',
    )
    parser.add_argument(
        '--votes',
        type=options.positive_int,
        default=10_000,
        metavar='N',
        help='votes that OPTICS is timed on (default: %(default)s)',
    )
    parser.add_argument(
        '--draws',
        type=options.positive_int,
        default=300,
        metavar='N',
        help='random maps among which the slowest is searched (default: %(default)s)',
    )


def _run_instances(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from mtl_perception.benchmark.instances import benchmark_instances, scenes_of, table
    from mtl_perception.data.synthetic import synthetic_frame
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.share import default_checkpoint

    predictor = Predictor(
        args.checkpoint or default_checkpoint(), device=args.device, runtime=args.runtime
    )
    print(predictor.description)
    limit = args.limit or 50
    unseen = len(SPLITS) * args.seed + SPLITS.index('test')
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
