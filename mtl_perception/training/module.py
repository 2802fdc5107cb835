"""Training with Lightning: the module with its losses and metrics, and the data it is fed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mtl_perception.data.augmentation import Augmentation, augment, resize_frame, to_sample
from mtl_perception.data.cityscapes import FramePaths, count_ground_truth, find_frames
from mtl_perception.network.checkpoint import CheckpointError, load_checkpoint
from mtl_perception.network.encoder import load_pretrained
from mtl_perception.network.multitask import (
    SIZE_MULTIPLE,
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    input_size,
    normalize,
)
from mtl_perception.tasks import depth, instance, semantic
from mtl_perception.tasks.loss import LossSum
from mtl_perception.tasks.weighting import FixedWeighting, UncertaintyWeighting
from mtl_perception.training.metrics import ValidationMetrics

LOSSES = {'semantic': semantic.loss, 'instance': instance.loss, 'depth': depth.loss}


class MultiTaskModule(L.LightningModule):
    """The multi-task network with its losses, their weighting and the optimizer.

    Args:
        network: what to train.
        pretrained: ImageNet weights of the encoder, with torchvision's names (.pth or
            .safetensors).
        initial: a checkpoint of this package with the same network, but for the stride, to go on
            from its weights.
        weighting: ``uncertainty`` learns the tasks' weights, ``fixed`` takes ``fixed_weights``.
        fixed_weights: weight of each task's loss, used with ``fixed``.
        optimizer: ``sgd`` with Nesterov momentum 0.9, or ``adamw``.
        learning_rate: at the start; it falls as (1 − i/max)^0.9.
        uncertainty_learning_rate: that of the learned uncertainties; ``None``: the same. AdamW's
            steps do not grow with the gradient, so that with it they need a larger one.
        warmup_steps: steps over which the learning rate rises from 0.
        weight_decay: of the network's weights; the uncertainties have none.
    """

    def __init__(
        self,
        network: NetworkConfig = NetworkConfig(encoder='resnet101', head_width=512),  # noqa: B008
        pretrained: Path | None = None,
        initial: Path | None = None,
        weighting: Literal['uncertainty', 'fixed'] = 'uncertainty',
        fixed_weights: dict[str, float] | None = None,
        optimizer: Literal['sgd', 'adamw'] = 'sgd',
        learning_rate: float = 2.5e-3,
        uncertainty_learning_rate: float | None = None,
        warmup_steps: int = 0,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        self.network = MultiTaskNetwork(network)
        if pretrained is not None:
            load_pretrained(self.network.encoder, pretrained)
        if initial is not None:
            self.network.load_state_dict(_weights_of(initial, network))
        # mypy knows only the overloads without a memory format.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weighting = _weighting(weighting, network, fixed_weights)
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.uncertainty_learning_rate = uncertainty_learning_rate or learning_rate
        self.warmup_steps = warmup_steps
        self.weight_decay = weight_decay
        self.metrics = ValidationMetrics()

    def forward(self, images: Tensor) -> NetworkOutput:
        """Run the network on ``(N, H, W, 3)`` uint8 RGB."""
        return self.network(normalize(images))

    def training_step(self, batch: Mapping[str, Any], _index: int) -> Tensor | None:
        """Return the weighted total of the losses, and log each of them."""
        losses = self.losses(self(batch['image']), batch)
        if not losses:
            return None  # Lightning skips the step
        total = self.weighting(losses)
        values = {f'train/{task}': loss.detach() for task, loss in losses.items()}
        self.log_dict({'train/total': total.detach(), **values}, prog_bar=True)
        weights = {f'weight/{task}': w for task, w in self.weighting.weights().items()}
        self.log_dict(weights)
        return total

    def losses(self, output: NetworkOutput, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return each task's mean loss over the valid pixels of the whole batch, on all processes.

        A task without a valid pixel is left out.
        """
        losses = {}
        for task in self.network.config.tasks:
            mean = _mean_over_processes(LOSSES[task](getattr(output, task), batch[task]))
            if mean is not None:
                losses[task] = mean
        return losses

    def validation_step(self, batch: Mapping[str, Any], _index: int) -> None:
        """Add a batch to the metrics, pooled over pixels."""
        self.metrics.update(self(batch['image']), batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics and start them anew."""
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimizer, uncertainties in a group without weight decay, and its schedule."""
        groups: list[dict[str, Any]] = [
            {'params': list(self.network.parameters()), 'weight_decay': self.weight_decay},
            {
                'params': list(self.weighting.parameters()),
                'weight_decay': 0.0,
                'lr': self.uncertainty_learning_rate,
            },
        ]
        groups = [group for group in groups if group['params']]
        optimizer: torch.optim.Optimizer
        if self.optimizer_name == 'sgd':
            optimizer = torch.optim.SGD(groups, self.learning_rate, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.AdamW(groups, self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(i: int) -> float:
            return min(1, (i + 1) / max(1, self.warmup_steps)) * (1 - min(i / steps, 1)) ** 0.9

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


class StreetData(L.LightningDataModule):
    """Frames in the Cityscapes layout, with whatever ground truth each of them has.

    Args:
        root: the dataset's folder.
        input_height: rows of a frame as the network sees it in use; its width follows.
        crop: (height, width) of the training crops, multiples of 32.
        augmentation: how training frames are changed.
        batch_size: training crops in a batch.
        workers: processes that read and augment.
        val_frames: use only so many validation frames while training.
        seed: of shuffling and augmentation.
        description: what the data is; kept in the checkpoint.
        terms: what the data's terms mean for the weights; kept in the checkpoint.
    """

    def __init__(
        self,
        root: Path,
        input_height: int = 256,
        crop: tuple[int, int] = (256, 512),
        augmentation: Augmentation = Augmentation(),  # noqa: B008 (frozen)
        batch_size: int = 8,
        workers: int = 4,
        val_frames: int | None = None,
        seed: int = 0,
        description: str = '',
        terms: str = '',
    ) -> None:
        super().__init__()
        if any(size < SIZE_MULTIPLE or size % SIZE_MULTIPLE for size in crop):
            msg = f'data.crop must be multiples of {SIZE_MULTIPLE}, got {crop}'
            raise ValueError(msg)
        self.root = root
        self.input_height = input_height
        self.crop = crop
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.workers = workers
        self.val_frames = val_frames
        self.seed = seed
        self.description = description
        self.terms = terms

    def setup(self, stage: str) -> None:
        """Find the frames and say how many there are, with which ground truth."""
        splits = ('train', 'val') if stage == 'fit' else ('val',)
        for split in splits:
            frames = find_frames(self.root, split)
            counts = count_ground_truth(frames)
            rank_zero_info(
                f'{self.root} {split}: ' + ', '.join(f'{n} {kind}' for kind, n in counts.items())
            )
            if split == 'train':
                if len(frames) < self.batch_size:
                    msg = (
                        f'{self.root}: {len(frames)} training frames make no batch of '
                        f'{self.batch_size}; lower data.batch_size'
                    )
                    raise ValueError(msg)
                self._train = TrainingFrames(
                    frames, self.augmentation, self.input_height, self.crop
                )
            else:
                self._val = ValidationFrames(frames[: self.val_frames], self.input_height)

    def train_dataloader(self) -> DataLoader:
        """Return shuffled, augmented batches."""
        return DataLoader(
            self._train,
            self.batch_size,
            shuffle=True,
            drop_last=True,
            generator=torch.Generator().manual_seed(self.seed),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        """Return whole frames one by one, because their sizes may differ."""
        return DataLoader(self._val, 1, num_workers=self.workers)


class TrainingFrames(Dataset):
    """Random views of frames."""

    def __init__(
        self,
        frames: list[FramePaths],
        augmentation: Augmentation,
        input_height: int,
        crop: tuple[int, int],
    ) -> None:
        self._frames = frames
        self._augmentation = augmentation
        self._input_height = input_height
        self._crop = crop

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # The loader seeds PyTorch's generator in every worker.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        frame = self._frames[index].read()
        return to_sample(augment(frame, self._augmentation, self._input_height, self._crop, rng))


class ValidationFrames(Dataset):
    """Whole frames at the size the network sees them in use."""

    def __init__(self, frames: list[FramePaths], input_height: int) -> None:
        self._frames = frames
        self._input_height = input_height

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        frame = self._frames[index].read()
        height, width = frame.image.shape[:2]
        return to_sample(resize_frame(frame, *input_size(height, width, self._input_height)))


def _weighting(
    name: str, network: NetworkConfig, fixed_weights: dict[str, float] | None
) -> UncertaintyWeighting | FixedWeighting:
    if name == 'uncertainty':
        return UncertaintyWeighting(network.tasks)
    if set(fixed_weights or ()) != set(network.tasks):
        msg = f'fixed weighting needs fixed_weights for {", ".join(network.tasks)}'
        raise ValueError(msg)
    return FixedWeighting(fixed_weights or {})


def _weights_of(path: Path, config: NetworkConfig) -> dict[str, Tensor]:
    network, info = load_checkpoint(path)
    # The stride changes how far apart the weights look, not their shapes.
    if replace(info.network, stride=config.stride) != config:
        msg = f'{path}: holds the network {info.network}, but {config} is to be trained'
        raise CheckpointError(msg)
    return network.state_dict()


def _mean_over_processes(loss: LossSum) -> Tensor | None:
    count, processes = loss.count, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes = torch.distributed.get_world_size()
        count = count.clone()
        torch.distributed.all_reduce(count)
    if not count:
        return None
    # DDP averages gradients over processes, so the share of this one is multiplied by their number.
    return loss.total * processes / count
