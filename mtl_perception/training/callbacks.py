"""What happens beside the training loop: checkpoints, curves, pictures, processes."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed

from mtl_perception.files import write_file
from mtl_perception.frame import resize_nearest
from mtl_perception.network.multitask import NetworkOutput
from mtl_perception.pictures.maps import MAX_DEPTH, color_offsets
from mtl_perception.pictures.sheets import map_row, overview_sheet
from mtl_perception.tasks import semantic
from mtl_perception.tasks.depth import decode
from mtl_perception.training.curves import CURVES_FILE, PANELS, read_curves, write_curves
from mtl_perception.training.metrics import to_array

PICTURED = 4
"""How many of the validation frames are pictured."""

PANEL_WIDTH = 256

TITLES = (
    'input',
    'semantic truth',
    'semantic prediction',
    'offset truth',
    'offset prediction',
    'depth truth',
    'depth prediction',
)


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
        metres = decode(to_array(disparity), focal_length, MAX_DEPTH)
    panels = map_row(
        None if labels is None else to_array(labels), None, metres, height, PANEL_WIDTH
    )
    if offsets is not None:
        panels[1] = resize_nearest(color_offsets(to_array(offsets)), height, PANEL_WIDTH)
    return panels


class ConfigBesideCheckpoint(SaveConfigCallback):
    """Writes the resolved configuration as ``config.yaml`` beside the checkpoint."""

    def save_config(self, trainer: Trainer, *_: Any) -> None:
        text = self.parser.dump(self.config, skip_none=False)
        write_file(Path(trainer.default_root_dir) / self.config_filename, text.encode())


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one it replaces, then renames it.

    Lightning's own goes through the folder for temporary files, which may be on another disk; a
    kill while it is copied from there leaves half a file.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002 (Lightning's signature)
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_file(Path(path), buffer.getvalue())


class ResumableCheckpoint(ModelCheckpoint):
    """Does not save again what was resumed from.

    Lightning's own does, at the first of the batches whose gradients are accumulated, and who
    resumed from that file would take the step without this batch.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._last_global_step_saved = trainer.global_step


class EndOfOthers(Callback):
    """Ends the processes that Lightning started where this one fails; they would wait for it."""

    def on_exception(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        exception: BaseException,
    ) -> None:
        # Not SIGTERM: who waits for a GPU does not look at it.
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)
        if not distributed.is_available() or not distributed.is_initialized():
            return
        if distributed.get_backend() == distributed.Backend.NCCL:
            # Leaving Python in order would have NCCL wait for the others, which wait for this one.
            for logger in trainer.loggers:
                logger.finalize('failed')
            traceback.print_exception(exception)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
