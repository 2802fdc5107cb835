# SPDX-License-Identifier: Apache-2.0
"""Lightning callbacks and plugins: checkpoints, curves, pictures, failing processes."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed

from mtl_perception.evaluation.metrics import MAX_DEPTH
from mtl_perception.files import write_file
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.pictures.sheets import MapsByKind, Row, comparison_row, overview_sheet
from mtl_perception.tasks import semantic
from mtl_perception.tasks.depth import decode
from mtl_perception.training.curves import CURVES_FILE, PANELS, read_curves, write_curves
from mtl_perception.training.metrics import to_array

PICTURED = 4
"""Number of validation frames in the logged picture."""

PANEL_WIDTH = 256
"""Width of each panel in the logged picture, in pixels."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint under a temporary name, then rename it.

    Lightning writes to the system's folder for temporary files first, which may be on another disk,
    and copies from there; a process that is killed during the copy leaves half a file.
    """

    def save_checkpoint(self, checkpoint: Any, path: str | Path, *_: Any, **__: Any) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())


class ResumableCheckpoint(ModelCheckpoint):
    """Save last.ckpt, from which a run resumes.

    The step that was resumed from is not saved again: Lightning would save it at the first of the
    batches whose gradients are accumulated. A run resumed from that file would take the step
    without this batch.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step


class ResolvedConfig(SaveConfigCallback):
    """Write the resolved configuration as ``config.yaml`` next to the checkpoint."""

    def save_config(self, trainer: Trainer, *_: Any) -> None:
        text = self.parser.dump(self.config, skip_none=False)
        write_file(Path(trainer.default_root_dir) / self.config_filename, text.encode())


class CurvesPicture(Callback):
    """Draw ``curves.png`` next to the checkpoint when training ends."""

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        """Flush the logs, because a killed run resumes from this step."""
        for logger in _loggers(trainer):
            logger.experiment.flush()

    def on_fit_end(self, trainer: Trainer, *_: Any) -> None:
        for logger in _loggers(trainer):
            logger.experiment.flush()
            folder = Path(trainer.default_root_dir)
            curves = read_curves(Path(logger.root_dir))
            if PANELS.keys() & curves.keys():
                write_curves(folder / CURVES_FILE, {folder.resolve().name: [curves]})


class ValidationPictures(Callback):
    """Log predictions and ground truth of a few validation frames, the same in every epoch."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, _: Any, batch: Any, index: int, *__: Any
    ) -> None:
        total = int(trainer.num_val_batches[0])
        pictured = {i * total // PICTURED for i in range(PICTURED)}
        if trainer.state.fn == TrainerFn.FITTING and index in pictured and _loggers(trainer):
            with torch.no_grad(), trainer.precision_plugin.val_step_context():
                self._rows.append(_row(batch, pl_module(batch['image'])))

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if self._rows:
            sheet = overview_sheet(self._rows)
            for logger in _loggers(trainer):
                logger.experiment.add_image(
                    'val/frames', sheet, trainer.global_step, dataformats='HWC'
                )
        self._rows.clear()


class KillSiblingsOnFailure(Callback):
    """Kill sibling processes on failure; otherwise they block in a collective."""

    def on_exception(self, trainer: Trainer, _: Any, exception: BaseException) -> None:
        # A process blocked on the GPU ignores SIGTERM.
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)
        is_distributed = distributed.is_available() and distributed.is_initialized()
        if is_distributed and distributed.get_backend() == distributed.Backend.NCCL:
            # A regular exit makes NCCL wait for the other processes, which wait for this one.
            for logger in trainer.loggers:
                logger.finalize('failed')
            traceback.print_exception(exception)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)


def _loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    """Return the TensorBoard loggers that this process writes to."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, TensorBoardLogger)]


def _row(batch: Mapping[str, Any], output: NetworkOutput) -> Row:
    """Return the pictures of the first frame of a batch."""
    votes, focal_length = batch['instance'][0], float(batch['focal_length'][0])
    truth = _maps(batch['semantic'][0], votes, batch['depth'][0], focal_length)
    prediction = _maps(
        None if output.semantic is None else semantic.decode(output.semantic).labels[0],
        None if output.instance is None else output.instance[0].where(votes.isfinite(), torch.nan),
        None if output.depth is None else output.depth[0, 0],
        focal_length,
    )
    return comparison_row(batch['image'][0].cpu().numpy(), prediction, truth, width=PANEL_WIDTH)


def _maps(
    labels: Tensor | None, offsets: Tensor | None, disparity: Tensor | None, focal_length: float
) -> MapsByKind:
    return {
        'semantic': None if labels is None else to_array(labels),
        'offset': None if offsets is None else to_array(offsets),
        'depth': None
        if disparity is None
        else decode(to_array(disparity), focal_length, MAX_DEPTH),
    }
