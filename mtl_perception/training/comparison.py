"""The rows of the ablation, and the table and curves of what is finished."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mtl_perception.files import write_file, write_json
from mtl_perception.network.checkpoint import CheckpointInfo, read_info
from mtl_perception.tasks import TASKS
from mtl_perception.training.cli import CHECKPOINT_NAME
from mtl_perception.training.curves import (
    CURVES_FILE,
    PANELS,
    Curves,
    read_curves,
    write_curves,
)

TABLE_FILE, FIGURES_FILE = 'ablation.md', 'ablation.json'


class Figure(NamedTuple):
    """How a figure is shown: under which heading, times what, with how many decimals."""

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
"""What is compared, by the name it has in a checkpoint's metadata; pixels of the output map."""

PAPER_FIGURES = ('iou', 'offset_px', 'disparity_px')

TENSORFLOW_FIGURES = ('iou', 'offset_rms_px', 'disparity_rms_px')


@dataclass(frozen=True)
class Row:
    """One choice of tasks and weights, and what others reached with it on Cityscapes.

    Attributes:
        loss: its name in the table.
        tasks: the heads of the network.
        weights: of the tasks' losses; ``None``: learned.
        paper: figures of Kendall, Gal, Cipolla, CVPR 2018, table 1.
        tensorflow: figures of the TensorFlow implementation, ranandalon/mtl.
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


def comparison(output: Path) -> list[dict[str, Any]]:
    """Return the figures of every row: of each seed, their mean and standard deviation.

    IoU is a share from 0 to 1, all else in pixels. What a row or seed lacks is left out.
    """
    rows = []
    for key, row in ROWS.items():
        runs = {
            int(folder.name.partition('_')[2]): info.metrics['val']
            for folder, info in _runs(output, key)
        }
        values = {name: [run[name] for run in runs.values() if name in run] for name in FIGURES}
        rows.append(
            {
                'row': key,
                'loss': row.loss,
                'weights': 'learned' if row.weights is None else dict(row.weights),
                'seeds': dict(sorted(runs.items())),
                'mean': {name: statistics.mean(v) for name, v in values.items() if v},
                'deviation': {name: statistics.stdev(v) for name, v in values.items() if v[1:]},
                'paper': dict(row.paper),
                'tensorflow': dict(row.tensorflow),
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of ``comparison`` in Markdown."""
    paper = ', '.join(FIGURES[name].heading for name in PAPER_FIGURES)
    tensorflow = ', '.join(FIGURES[name].heading for name in TENSORFLOW_FIGURES)
    heading = [
        'loss',
        'sem / inst / depth weights',
        'seeds',
        *(figure.heading for figure in FIGURES.values()),
        f'paper: {paper}',
        f'ranandalon/mtl: {tensorflow}',
    ]
    lines = [heading, ['---'] * len(heading)]
    for row in rows:
        own = [_cell(name, row['mean'], row['deviation']) for name in FIGURES]
        lines.append(
            [
                row['loss'],
                _weights(row['weights']),
                str(len(row['seeds'])),
                *own,
                ', '.join(_cell(name, row['paper']) for name in PAPER_FIGURES),
                ', '.join(_cell(name, row['tensorflow']) for name in TENSORFLOW_FIGURES),
            ]
        )
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def finished_run(folder: Path) -> CheckpointInfo | None:
    """Return what the final checkpoint of a run says of itself, if it was measured."""
    path = folder / CHECKPOINT_NAME
    info = read_info(path) if path.is_file() else None
    return info if info and 'val' in info.metrics else None


def _runs(output: Path, row: str) -> Iterator[tuple[Path, CheckpointInfo]]:
    for folder in sorted((output / row).glob('seed_*')):
        if info := finished_run(folder):
            yield folder, info


def write_files(output: Path) -> str:
    """Write the table, the figures and the curves of what is finished; return the table."""
    rows = comparison(output)
    finished = {ROWS[key].loss: list(_runs(output, key)) for key in ROWS}
    any_run = next((info for runs in finished.values() for _, info in runs), None)
    text = table(rows)
    if any_run is not None:
        text += (
            f'\n\n{any_run.data}, {any_run.recipe["steps"]} steps a row; mean ± standard deviation '
            'over the seeds. The figures of the paper and of ranandalon/mtl are on Cityscapes.'
        )
    write_file(output / TABLE_FILE, (text + '\n').encode())
    write_json(output / FIGURES_FILE, {'rows': rows})
    curves = {
        loss: [_curves(folder) for folder, _ in runs] for loss, runs in finished.items() if runs
    }
    if any(
        PANELS.keys() & found.keys() for repetitions in curves.values() for found in repetitions
    ):
        write_curves(output / CURVES_FILE, curves)
    return text


def _curves(folder: Path) -> Curves:
    try:
        return read_curves(folder)
    except FileNotFoundError:
        return {}  # trainer.logger may be off


def _weights(weights: Mapping[str, float] | str) -> str:
    if isinstance(weights, str):
        return weights
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
