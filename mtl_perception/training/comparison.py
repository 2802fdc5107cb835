"""Rows of the ablation, and table, figures and curves of its finished runs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mtl_perception.files import write_file, write_json
from mtl_perception.network.checkpoint import CheckpointInfo, read_info
from mtl_perception.tasks import TASKS
from mtl_perception.training.cli import CHECKPOINT_NAME
from mtl_perception.training.curves import CURVES_FILE, PANELS, Curves, read_curves, write_curves

TABLE_FILE, FIGURES_FILE = 'ablation.md', 'ablation.json'


class Figure(NamedTuple):
    """Column heading of a figure, factor before it is shown, and number of decimals."""

    heading: str
    factor: float
    decimals: int


FIGURES = {
    'iou': Figure('IoU %', 100, 1),
    'offset_px': Figure('instance mean px', 1, 2),
    'offset_rms_px': Figure('instance RMS px', 1, 2),
    'disparity_px': Figure('disparity mean px', 1, 3),
    'disparity_rms_px': Figure('disparity RMS px', 1, 3),
}
"""Compared figures, by name in a checkpoint's metadata; px are pixels of the output map."""

PAPER_FIGURES = ('iou', 'offset_px', 'disparity_px')

TENSORFLOW_FIGURES = ('iou', 'offset_rms_px', 'disparity_rms_px')


@dataclass(frozen=True)
class Row:
    """One choice of tasks and weights, with published figures on Cityscapes.

    Attributes:
        loss: Name in the table.
        tasks: Heads of the network.
        weights: Weights of the tasks' losses; ``None``: learned.
        paper: Figures of Kendall, Gal, Cipolla, CVPR 2018, table 1.
        tensorflow: Figures of the TensorFlow implementation, ranandalon/mtl.
    """

    loss: str
    tasks: tuple[str, ...] = TASKS
    weights: Mapping[str, float] | None = None
    paper: Mapping[str, float] = field(default_factory=dict)
    tensorflow: Mapping[str, float] = field(default_factory=dict)


ROWS = {
    'semantic': Row(
        'semantic only',
        ('semantic',),
        {'semantic': 1.0},
        paper={'iou': 0.594},
        tensorflow={'iou': 0.4345},
    ),
    'instance': Row(
        'instance only',
        ('instance',),
        {'instance': 1.0},
        paper={'offset_px': 4.61},
        tensorflow={'offset_rms_px': 3.4128},
    ),
    'depth': Row(
        'depth only',
        ('depth',),
        {'depth': 1.0},
        paper={'disparity_px': 0.640},
        tensorflow={'disparity_rms_px': 0.7005},
    ),
    'unweighted': Row(
        'unweighted sum',
        weights={'semantic': 1 / 3, 'instance': 1 / 3, 'depth': 1 / 3},
        paper={'iou': 0.501, 'offset_px': 3.79, 'disparity_px': 0.592},
    ),
    'optimal': Row(
        'approx. optimal',
        weights={'semantic': 0.89, 'instance': 0.01, 'depth': 0.1},
        paper={'iou': 0.628, 'offset_px': 3.61, 'disparity_px': 0.549},
    ),
    'semantic+instance': Row(
        'semantic + instance',
        ('semantic', 'instance'),
        paper={'iou': 0.610, 'offset_px': 3.42},
        tensorflow={'iou': 0.4298, 'offset_rms_px': 3.3185},
    ),
    'semantic+depth': Row(
        'semantic + depth',
        ('semantic', 'depth'),
        paper={'iou': 0.627, 'disparity_px': 0.533},
        tensorflow={'iou': 0.4327, 'disparity_rms_px': 0.7118},
    ),
    'instance+depth': Row(
        'instance + depth',
        ('instance', 'depth'),
        paper={'offset_px': 3.54, 'disparity_px': 0.539},
        tensorflow={'offset_rms_px': 3.2853, 'disparity_rms_px': 0.7166},
    ),
    'all': Row(
        'all three',
        paper={'iou': 0.634, 'offset_px': 3.50, 'disparity_px': 0.522},
        tensorflow={'iou': 0.4287, 'offset_rms_px': 3.3183, 'disparity_rms_px': 0.7102},
    ),
}


@dataclass(frozen=True)
class RowResult:
    """Finished runs of one row.

    Attributes:
        key: Key of the row in ``ROWS``.
        runs: Metadata of each run's final checkpoint, by seed in rising order.
    """

    key: str
    runs: Mapping[int, CheckpointInfo]

    def figures(self) -> dict[str, Any]:
        """Return the row's entry in ``ablation.json``; IoU is a ratio, the rest pixels."""
        row = ROWS[self.key]
        seeds = {seed: info.metrics['val'] for seed, info in self.runs.items()}
        values = {name: [run[name] for run in seeds.values() if name in run] for name in FIGURES}
        return {
            'row': self.key,
            'loss': row.loss,
            'weights': 'learned' if row.weights is None else row.weights,
            'seeds': seeds,
            'mean': {name: statistics.mean(v) for name, v in values.items() if v},
            'deviation': {name: statistics.stdev(v) for name, v in values.items() if v[1:]},
            'paper': row.paper,
            'tensorflow': row.tensorflow,
        }


def write_comparison(output: Path) -> str:
    """Write table, figures and curves of the finished runs below ``output``; return the table.

    Raises:
        CheckpointError: The final checkpoint of a run is damaged.
        OSError: A file cannot be written.
    """
    results = read_results(output)
    text = table(results)
    if info := next((info for result in results for info in result.runs.values()), None):
        text += (
            f'\n\n{info.data}, {info.recipe["steps"]} steps a row; mean ± standard deviation over '
            'the seeds. The figures of the paper and of ranandalon/mtl are on Cityscapes.'
        )
    write_file(output / TABLE_FILE, (text + '\n').encode())
    write_json(output / FIGURES_FILE, {'rows': [result.figures() for result in results]})
    curves = {
        ROWS[result.key].loss: [
            _curves(run_folder(output, result.key, seed)) for seed in result.runs
        ]
        for result in results
        if result.runs
    }
    if any(PANELS.keys() & run.keys() for runs in curves.values() for run in runs):
        write_curves(output / CURVES_FILE, curves)
    return text


def read_results(output: Path) -> list[RowResult]:
    """Return the finished runs of every row below ``output``."""
    results = []
    for key in ROWS:
        folders = output.glob(f'{key}/seed_*')
        seeds = sorted(int(folder.name.removeprefix('seed_')) for folder in folders)
        runs = {seed: finished_run(run_folder(output, key, seed)) for seed in seeds}
        results.append(RowResult(key, {seed: info for seed, info in runs.items() if info}))
    return results


def run_folder(output: Path, row: str, seed: int) -> Path:
    """Return the folder of a run."""
    return output / row / f'seed_{seed}'


def finished_run(folder: Path) -> CheckpointInfo | None:
    """Return the metadata of a run's final checkpoint, ``None`` if it is missing or unmeasured."""
    path = folder / CHECKPOINT_NAME
    info = read_info(path) if path.is_file() else None
    return info if info and 'val' in info.metrics else None


def table(results: Sequence[RowResult]) -> str:
    """Return ``results`` as a Markdown table."""
    paper = ', '.join(FIGURES[name].heading for name in PAPER_FIGURES)
    tensorflow = ', '.join(FIGURES[name].heading for name in TENSORFLOW_FIGURES)
    own = [figure.heading for figure in FIGURES.values()]
    others = [f'paper: {paper}', f'ranandalon/mtl: {tensorflow}']
    heading = ['loss', 'sem / inst / depth weights', 'seeds', *own, *others]
    lines = [heading, ['---'] * len(heading)]
    for result in results:
        row, figures = ROWS[result.key], result.figures()
        lines.append(
            [
                row.loss,
                _weights(row.weights),
                str(len(result.runs)),
                *(_cell(name, figures['mean'], figures['deviation']) for name in FIGURES),
                ', '.join(_cell(name, row.paper) for name in PAPER_FIGURES),
                ', '.join(_cell(name, row.tensorflow) for name in TENSORFLOW_FIGURES),
            ]
        )
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def _curves(folder: Path) -> Curves:
    try:
        return read_curves(folder)
    except FileNotFoundError:
        return {}  # trainer.logger may be off


def _weights(weights: Mapping[str, float] | None) -> str:
    if weights is None:
        return 'learned'
    return ' / '.join(f'{weights.get(task, 0):.2g}' for task in TASKS)


def _cell(
    name: str, values: Mapping[str, float], deviations: Mapping[str, float] | None = None
) -> str:
    if name not in values:
        return '–'
    _, factor, decimals = FIGURES[name]
    text = f'{values[name] * factor:.{decimals}f}'
    if deviations and name in deviations:
        text += f' ± {deviations[name] * factor:.{decimals}f}'
    return text
