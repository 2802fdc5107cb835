"""Curves of one or more trainings, and pictures of what a network says while it is trained."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from mtl_perception.data.frame import resize_nearest
from mtl_perception.files import write_file
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.tasks import semantic
from mtl_perception.tasks.depth import decode
from mtl_perception.visualization import MAX_DEPTH, map_row, overview_sheet

CURVES_FILE = 'curves.png'

PANELS = {
    'val/iou': 'semantic: IoU of classes',
    'val/offset_px': 'instance: mean offset error, px',
    'val/disparity_px': 'depth: mean disparity error, px',
}
"""What is drawn, a panel for each task."""

PICTURED = 4
"""How many of the validation frames are pictured."""

PANEL_WIDTH = 256

LONGEST_OFFSET = 1 / 16
"""Share of the map's width at which the colours of offsets are full."""

TITLES = (
    'input',
    'semantic truth',
    'semantic prediction',
    'offset truth',
    'offset prediction',
    'depth truth',
    'depth prediction',
)

Curves = dict[str, dict[int, float]]
"""Values by step, by the name they are logged under."""


def read_curves(folder: Path) -> Curves:
    """Return what a training logged for TensorBoard anywhere below ``folder``.

    A training that was resumed has several logs. What an earlier one holds from the first step of
    the next on was lost with the interruption, and is left out.

    Raises:
        FileNotFoundError: there is no log.
    """
    logs = sorted(folder.rglob('events.out.tfevents.*'), key=lambda path: path.name)
    if not logs:
        msg = f'{folder}: holds no log of a training (events.out.tfevents.…)'
        raise FileNotFoundError(msg)
    curves: Curves = {}
    for log in logs:
        found = _read_log(log)
        begin = min((min(values) for values in found.values()), default=0)
        for name in curves.keys() | found.keys():
            before = {i: v for i, v in curves.get(name, {}).items() if not found or i < begin}
            curves[name] = before | found.get(name, {})
    return {name: values for name, values in curves.items() if values}


def write_curves(path: Path, runs: Mapping[str, Sequence[Curves]]) -> None:
    """Draw the validation figures of several runs on the same axes, a panel for each task.

    Args:
        path: a picture that matplotlib can write, ``.png`` or ``.svg`` for example.
        runs: by their name in the legend; repetitions of a run have the same colour.

    Raises:
        ValueError: no run has a validation figure, or the format is unknown.
        OSError: the file cannot be written.
    """
    shown = [
        name
        for name in PANELS
        if any(curves.get(name) for repetitions in runs.values() for curves in repetitions)
    ]
    if not shown:
        msg = f'{", ".join(runs)}: no validation figure was logged yet'
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


class CurvesPicture(Callback):
    """Draws ``curves.png`` beside the checkpoint when training ends."""

    def on_save_checkpoint(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],  # noqa: ARG002
    ) -> None:
        """Write what was logged: a training that is killed goes on from here."""
        for logger in _loggers(trainer):
            logger.experiment.flush()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        for logger in _loggers(trainer):
            logger.experiment.flush()
            folder = Path(trainer.default_root_dir)
            curves = read_curves(Path(logger.root_dir))
            if PANELS.keys() & curves.keys():
                write_curves(folder / CURVES_FILE, {folder.resolve().name: [curves]})


class ValidationPictures(Callback):
    """Logs what the network says of a few validation frames, always the same, beside the truth."""

    def __init__(self) -> None:
        self._rows: list[list[np.ndarray]] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        total = int(trainer.num_val_batches[0])
        pictured = {i * total // PICTURED for i in range(PICTURED)}
        if (
            batch_idx in pictured
            and trainer.state.fn == TrainerFn.FITTING
            and any(_loggers(trainer))
        ):
            with torch.no_grad(), trainer.precision_plugin.val_step_context():
                self._rows.append(_panels(batch, pl_module(batch['image'])))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        if self._rows:
            sheet = overview_sheet(self._rows, TITLES)
            for logger in _loggers(trainer):
                logger.experiment.add_image(
                    'val/frames', sheet, trainer.global_step, dataformats='HWC'
                )
        self._rows.clear()


def color_offsets(offsets: np.ndarray) -> np.ndarray:
    """Return ``(h, w, 3)`` RGB: the hue is the direction, the saturation the length of an offset.

    Args:
        offsets: ``(2, h, w)`` (dx, dy) pixels; black where they are NaN.
    """
    known = np.isfinite(offsets).all(0)
    dx, dy = np.where(known, offsets, 0)
    hue = np.arctan2(dy, dx) % (2 * np.pi) * (90 / np.pi)
    saturation = np.minimum(np.hypot(dx, dy) / (LONGEST_OFFSET * offsets.shape[2]), 1) * 255
    hsv = np.stack([hue % 180, saturation, known * 255], -1).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _read_log(path: Path) -> Curves:
    # Everything of scalars, and next to nothing of what else the log holds.
    sizes = {'scalars': 0, 'images': 1, 'tensors': 1, 'histograms': 1, 'compressedHistograms': 1}
    log = EventAccumulator(str(path), sizes)
    log.Reload()
    names = [name for name in log.Tags()['scalars'] if name.startswith(('train/', 'val/'))]
    return {name: {event.step: event.value for event in log.Scalars(name)} for name in names}


def _loggers(trainer: L.Trainer) -> Iterator[TensorBoardLogger]:
    """Yield the loggers that this process writes to."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            yield logger


def _panels(batch: Mapping[str, Any], output: NetworkOutput) -> list[np.ndarray]:
    """Return the pictures of ``TITLES`` for the first frame of a batch."""
    image, votes = batch['image'][0].cpu().numpy(), batch['instance'][0]
    height = round(PANEL_WIDTH * image.shape[0] / image.shape[1])
    focal_length = float(batch['focal_length'][0])
    truth = _map_panels(batch['semantic'][0], votes, batch['depth'][0], focal_length, height)
    answer = _map_panels(
        None if output.semantic is None else semantic.decode(output.semantic).labels[0],
        None if output.instance is None else output.instance[0].where(votes.isfinite(), torch.nan),
        None if output.depth is None else output.depth[0, 0],
        focal_length,
        height,
    )
    small = cv2.resize(image, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return [small, *(panel for pair in zip(truth, answer, strict=True) for panel in pair)]


def _map_panels(
    labels: Tensor | None,
    offsets: Tensor | None,
    disparity: Tensor | None,
    focal_length: float,
    height: int,
) -> list[np.ndarray]:
    metres = None
    if disparity is not None:
        metres = decode(_array(disparity), focal_length, MAX_DEPTH)
    panels = map_row(None if labels is None else _array(labels), None, metres, height, PANEL_WIDTH)
    if offsets is not None:
        panels[1] = resize_nearest(color_offsets(_array(offsets)), height, PANEL_WIDTH)
    return panels


def _array(values: Tensor) -> np.ndarray:
    return (values.float() if values.is_floating_point() else values).cpu().numpy()
