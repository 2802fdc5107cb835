# SPDX-License-Identifier: Apache-2.0
"""Rows of the ablation, and table, figures and curves of its finished runs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

PAPER = {'semantic': 'iou', 'instance': 'offset_px', 'depth': 'disparity_px'}
TENSORFLOW = {'semantic': 'iou', 'instance': 'offset_rms_px', 'depth': 'disparity_rms_px'}
"""Published figure of each task."""


@dataclass(frozen=True)
class Row:
    """One choice of tasks and weights, with published figures on Cityscapes.

    Attributes:
        loss: Name in the table.
        tasks: Heads of the network.
        weights: Weight of each task's loss; empty: learned.
        paper: Figure of each task in Kendall, Gal, Cipolla, CVPR 2018, table 1.
        tensorflow: Figure of each task of the TensorFlow implementation, ranandalon/mtl.
    """

    loss: str
    tasks: tuple[str, ...]
    weights: tuple[float, ...]
    paper: tuple[float, ...]
    tensorflow: tuple[float, ...] = ()

    def by_task(self, values: Sequence[float]) -> dict[str, float]:
        """Return ``values`` by task; an empty mapping if they are empty."""
        return dict(zip(self.tasks, values, strict=bool(values)))


ROWS = {
    'semantic': Row('semantic only', ('semantic',), (1.0,), (0.594,), (0.4345,)),
    'instance': Row('instance only', ('instance',), (1.0,), (4.61,), (3.4128,)),
    'depth': Row('depth only', ('depth',), (1.0,), (0.640,), (0.7005,)),
    'unweighted': Row('unweighted sum', TASKS, (1 / 3, 1 / 3, 1 / 3), (0.501, 3.79, 0.592)),
    'optimal': Row('approx. optimal', TASKS, (0.89, 0.01, 0.1), (0.628, 3.61, 0.549)),
    'semantic+instance': Row(
        'semantic + instance', ('semantic', 'instance'), (), (0.610, 3.42), (0.4298, 3.3185)
    ),
    'semantic+depth': Row(
        'semantic + depth', ('semantic', 'depth'), (), (0.627, 0.533), (0.4327, 0.7118)
    ),
    'instance+depth': Row(
        'instance + depth', ('instance', 'depth'), (), (3.54, 0.539), (3.2853, 0.7166)
    ),
    'all': Row('all three', TASKS, (), (0.634, 3.50, 0.522), (0.4287, 3.3183, 0.7102)),
}


@dataclass(frozen=True)
class RowResult:
    """Metadata of the final checkpoints of the row ``key``, by seed in rising order."""

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
            'weights': row.by_task(row.weights) or 'learned',
            'seeds': seeds,
            'mean': {name: statistics.mean(v) for name, v in values.items() if v},
            'deviation': {name: statistics.stdev(v) for name, v in values.items() if v[1:]},
            'paper': {PAPER[task]: v for task, v in row.by_task(row.paper).items()},
            'tensorflow': {TENSORFLOW[task]: v for task, v in row.by_task(row.tensorflow).items()},
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
    curves: dict[str, list[Curves]] = {}
    for result in results:
        for seed in result.runs:
            with suppress(FileNotFoundError):  # trainer.logger may be off
                found = read_curves(run_folder(output, result.key, seed))
                curves.setdefault(ROWS[result.key].loss, []).append(found)
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

    def headings(names: Iterable[str]) -> str:
        return ', '.join(FIGURES[name].heading for name in names)

    heading = [
        *('loss', 'sem / inst / depth weights', 'seeds'),
        *(figure.heading for figure in FIGURES.values()),
        f'paper: {headings(PAPER.values())}',
        f'ranandalon/mtl: {headings(TENSORFLOW.values())}',
    ]
    lines = [heading, ['---'] * len(heading)]
    for result in results:
        row, figures = ROWS[result.key], result.figures()
        weights = row.by_task(row.weights)
        shares = ' / '.join(f'{weights.get(task, 0):.2g}' for task in TASKS)
        lines.append(
            [
                *(row.loss, shares if weights else 'learned', str(len(result.runs))),
                *(_cell(name, figures['mean'], figures['deviation']) for name in FIGURES),
                ', '.join(_cell(name, figures['paper']) for name in PAPER.values()),
                ', '.join(_cell(name, figures['tensorflow']) for name in TENSORFLOW.values()),
            ]
        )
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


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
