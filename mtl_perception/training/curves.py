# SPDX-License-Identifier: Apache-2.0
"""Curves of one or more trainings: read from TensorBoard's logs, drawn with matplotlib."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtl_perception.files import write_file

CURVES_FILE = 'curves.png'

PANELS = {
    'val/iou': 'semantic: IoU of classes',
    'val/offset_px': 'instance: mean offset error, px',
    'val/disparity_px': 'depth: mean disparity error, px',
}
"""Titles of the panels, one for each task, by the name of the figure they show."""

Curves = dict[str, dict[int, float]]
"""Values by logged name and step."""


def read_curves(folder: Path) -> Curves:
    """Return the scalars that a training logged for TensorBoard anywhere below ``folder``.

    A resumed training has several logs. The first step of a log replaces all later steps of the
    logs before, because the interruption discarded them.

    Raises:
        FileNotFoundError: ``folder`` holds no log.
    """
    logs = sorted(folder.rglob('events.out.tfevents.*'), key=lambda path: path.name)
    if not logs:
        msg = f'{folder}: no log of a training (events.out.tfevents.…) found'
        raise FileNotFoundError(msg)
    curves: Curves = {}
    for log in logs:
        found = _read_log(log)
        begin = min((min(values) for values in found.values()), default=math.inf)
        for name in curves.keys() | found.keys():
            before = {i: v for i, v in curves.get(name, {}).items() if i < begin}
            curves[name] = before | found.get(name, {})
    return {name: values for name, values in curves.items() if values}


def write_curves(path: Path, runs: Mapping[str, Sequence[Curves]]) -> None:
    """Draw the validation figures of several runs on common axes, a panel for each task.

    Args:
        path: Picture in a format of matplotlib, ``.png`` or ``.svg`` for example.
        runs: Curves by name in the legend; repetitions of a run share a colour.

    Raises:
        ValueError: No run has a validation figure, or the format is unknown.
        OSError: The file cannot be written.
    """
    logged = {name for repetitions in runs.values() for curves in repetitions for name in curves}
    shown = [name for name in PANELS if name in logged]
    if not shown:
        msg = f'{", ".join(runs)}: no validation figure in the logs yet'
        raise ValueError(msg)
    figure = Figure(figsize=(5.2 * len(shown), 4.6), layout='constrained')
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for i, repetitions in enumerate(runs.values()):
            for curves in repetitions:
                steps = sorted(curves.get(name, {}))
                axes.plot(steps, [curves[name][step] for step in steps], f'C{i}', marker='.')
        axes.set(title=PANELS[name], xlabel='step')
        axes.grid(alpha=0.3)
        if name == 'val/iou':
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    lines = [figure.axes[0].plot([], [], f'C{i}', marker='.')[0] for i in range(len(runs))]
    figure.legend(lines, runs, loc='outside lower center', ncols=min(len(runs), 2 * len(shown)))
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=100)
    write_file(path, buffer.getvalue())


def _read_log(path: Path) -> Curves:
    log = EventAccumulator(str(path), {'scalars': 0})  # 0: all
    log.Reload()
    names = [name for name in log.Tags()['scalars'] if name.startswith(('train/', 'val/'))]
    return {name: {event.step: event.value for event in log.Scalars(name)} for name in names}
