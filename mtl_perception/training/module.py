# SPDX-License-Identifier: Apache-2.0
"""Lightning module: network, losses, weighting, optimizer, schedule and metrics."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self

from mtl_perception.network.checkpoint import CheckpointError, load_checkpoint
from mtl_perception.network.encoder import load_pretrained
from mtl_perception.network.multitask import (
    MultiTaskNetwork,
    NetworkConfig,
    NetworkOutput,
    normalize,
)
from mtl_perception.tasks import depth, instance, semantic
from mtl_perception.tasks.loss import LossSum
from mtl_perception.tasks.weighting import FixedWeighting, UncertaintyWeighting
from mtl_perception.training.metrics import ValidationMetrics, sum_over_processes


class TrainingError(ValueError):
    """Training cannot continue; the message names step, cause and remedy."""


REGRESSION_LOSSES = {'instance': instance.loss, 'depth': depth.loss}

TRAINED = 'mtl_perception'
"""Key of network, weighting and optimizer in a checkpoint to resume from."""

ORIGIN = 'mtl_perception_origin'
"""Key of data, terms and recipe of the initial checkpoint in a checkpoint to resume from."""


class MultiTaskModule(L.LightningModule):
    """The multi-task network with its losses, their weighting and the optimizer.

    Losses are means over the valid pixels of a batch of all processes. Where the trainer
    accumulates gradients of several batches, it averages their totals: all batches count equally,
    whatever their numbers of valid pixels.

    Args:
        network: Architecture of the network.
        pretrained: ImageNet weights for the encoder: a .pth or .safetensors file with torchvision's
            names, or ``imagenet`` for the weights that come with efficientnet_lite0.
        initial: Checkpoint with the initial weights; only the stride of its network may differ.
        weighting: ``uncertainty`` learns the tasks' weights, ``fixed`` uses ``fixed_weights``.
        fixed_weights: Weight of each task's loss, for ``fixed``.
        label_weights: Weight of each label in the cross-entropy, by name; 1 for other labels. A
            short training does not learn rare labels without a larger weight.
        optimizer: ``sgd`` with Nesterov momentum 0.9, or ``adamw``.
        learning_rate: Initial learning rate; it falls as (1 − i/max)^0.9.
        uncertainty_learning_rate: Learning rate of the uncertainties; ``None``: ``learning_rate``.
            AdamW's steps do not grow with the gradient, so it needs a larger rate here.
        warmup_steps: Steps in which the learning rate rises from 0.
        weight_decay: Weight decay of the network; the uncertainties have none.
        freeze_batch_norm: Keep the running statistics of the encoder's batch norm and normalize
            with them; for pretrained encoders and batches that are too small for statistics.
        compiled: Run the network through ``torch.compile``.
    """

    def __init__(
        self,
        network: NetworkConfig = NetworkConfig(encoder='resnet101', head_width=512),  # noqa: B008
        pretrained: Path | None = None,
        initial: Path | None = None,
        weighting: Literal['uncertainty', 'fixed'] = 'uncertainty',
        fixed_weights: dict[str, float] | None = None,
        label_weights: dict[str, float] | None = None,
        optimizer: Literal['sgd', 'adamw'] = 'sgd',
        learning_rate: float = 2.5e-3,
        uncertainty_learning_rate: float | None = None,
        warmup_steps: int = 0,
        weight_decay: float = 1e-4,
        freeze_batch_norm: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if pretrained is not None and initial is not None:
            msg = 'model.pretrained and model.initial exclude each other: both set initial weights'
            raise ValueError(msg)
        self.network = MultiTaskNetwork(network)
        self.origin: dict[str, Any] = {}
        """Data, terms and recipe of the ``initial`` checkpoint, also after resuming."""
        if pretrained is not None:
            load_pretrained(self.network.encoder, pretrained)
        if initial is not None:
            self.origin = self._load_initial(initial)
        # mypy knows only the overloads without a memory format.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weighting = _weighting(weighting, network, fixed_weights)
        self.label_weights: Tensor | None
        weights = semantic.label_weights(label_weights) if label_weights else None
        self.register_buffer('label_weights', weights, persistent=False)
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.uncertainty_learning_rate = (
            learning_rate if uncertainty_learning_rate is None else uncertainty_learning_rate
        )
        self.warmup_steps = warmup_steps
        self.weight_decay = weight_decay
        self.freeze_batch_norm = freeze_batch_norm
        self.metrics = ValidationMetrics()
        self._learned: set[str] = set()
        """Tasks with a gradient since the last optimizer step."""
        if compiled:
            self.network.compile()
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen batch norm stays in evaluation."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.network.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> NetworkOutput:
        """Run the network on ``(N, H, W, 3)`` uint8 RGB."""
        return self.network(normalize(images))

    def training_step(self, batch: Mapping[str, Any], _index: int) -> Tensor:
        """Return the weighted total of the losses; log all losses, weights and uncertainties.

        ``batch`` has the arrays of ``to_sample``, stacked.

        Raises:
            TrainingError: A loss is not finite.
        """
        output = self(batch['image'])
        sums = self._sums(output, batch)
        losses = _means_over_processes(sums)
        # A GPU is waited for once, not once per task.
        finite = torch.stack(list(losses.values())).isfinite().tolist() if losses else ()
        for task, is_finite in zip(losses, finite, strict=True):
            if not is_finite:
                raise TrainingError(self._not_finite(task, output, batch))
        self._learned.update(losses)
        total = self.weighting(losses) if losses else torch.zeros((), device=self.device)
        values = {f'train/{task}': loss.detach() for task, loss in losses.items()}
        self.log_dict({'train/total': total.detach(), **values}, prog_bar=True)
        self.log_dict({f'weight/{task}': w for task, w in self.weighting.weights().items()})
        self.log_dict({f'sigma/{task}': sigma for task, sigma in self.weighting.sigmas().items()})
        # DDP waits for the gradient of every parameter; parameters of absent tasks get zeros.
        idle = sum(sums[task].total for task in sums if task not in losses)
        return total + idle + 0 * sum(s.sum() for s in self.weighting.parameters())

    def on_before_optimizer_step(self, _optimizer: torch.optim.Optimizer) -> None:
        """Drop gradients of tasks without ground truth; momentum and decay would move them."""
        idle = set(self.network.config.tasks) - self._learned
        for name, parameter in self.named_parameters():
            # The path of a task's parameter has the task in it: network.heads.depth.0.weight.
            if not self._learned or idle.intersection(name.split('.')):
                parameter.grad = None
        self._learned.clear()

    def on_train_epoch_end(self) -> None:
        sigmas = self.weighting.sigmas()
        texts = [
            f'{task} {weight:.4g}' + (f' (σ {sigmas[task]:.4g})' if task in sigmas else '')
            for task, weight in self.weighting.weights().items()
        ]
        rank_zero_info(f'epoch {self.current_epoch}: weights {", ".join(texts)}')

    def losses(self, output: NetworkOutput, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the mean loss of each task with a valid pixel in a batch of all processes."""
        return _means_over_processes(self._sums(output, batch))

    def _sums(self, output: NetworkOutput, batch: Mapping[str, Any]) -> dict[str, LossSum]:
        return {
            task: self._loss(task, getattr(output, task), batch[task])
            for task in self.network.config.tasks
        }

    def _loss(self, task: str, predicted: Tensor, target: Tensor) -> LossSum:
        if task == 'semantic':
            return semantic.loss(predicted, target, self.label_weights)
        return REGRESSION_LOSSES[task](predicted, target)

    def _not_finite(self, task: str, output: NetworkOutput, batch: Mapping[str, Any]) -> str:
        predicted, target = getattr(output, task), batch[task]
        names = [
            name
            for i, name in enumerate(batch['name'])
            if not self._loss(task, predicted[i : i + 1], target[i : i + 1]).total.isfinite()
        ]
        frames = ', '.join(names) or 'frames of another process'
        return (
            f'step {self.global_step}: the {task} loss is not finite on {frames}; check these '
            'frames, or resume from the last checkpoint, which is kept, with a lower learning rate'
        )

    def validation_step(self, batch: Mapping[str, Any], _index: int) -> None:
        self.metrics.update(self(batch['image']), batch)

    def on_validation_epoch_end(self) -> None:
        self.metrics.add_other_processes(self.device)
        # Lightning would round Python floats to float32.
        figures = {
            name: torch.tensor(value, dtype=torch.float64, device=self.device)
            for name, value in self.metrics.compute().items()
        }
        # The figures are equal in all processes; sync_dist only silences Lightning's warning.
        self.log_dict(figures, prog_bar=True, sync_dist=True)
        self.metrics = ValidationMetrics()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the kind of training to the checkpoint, for ``on_load_checkpoint``.

        Raises:
            TrainingError: A weight is not finite; the previous checkpoint is kept.
        """
        for name, value in self.state_dict().items():
            if not value.isfinite().all():
                msg = (
                    f'step {self.global_step}: {name} is not finite; resume from the last '
                    'checkpoint, which is kept, with a lower learning rate'
                )
                raise TrainingError(msg)
        checkpoint[TRAINED] = self._trained()
        checkpoint[ORIGIN] = self.origin

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the learning rates and weight decay of this run, not of the checkpoint.

        Raises:
            CheckpointError: The checkpoint has another network, weighting or optimizer.
        """
        found = checkpoint.get(TRAINED, {})
        wrong = [
            f'{key} {found.get(key)} instead of {value}'
            for key, value in self._trained().items()
            if found.get(key) != value
        ]
        if wrong:
            path = self.trainer.ckpt_path
            msg = f'{path}: cannot be resumed, because it was trained with {"; ".join(wrong)}'
            raise CheckpointError(msg)
        self.origin = checkpoint.get(ORIGIN, self.origin)
        # Optimizer and schedule would restore their values from the checkpoint.
        groups = self._parameter_groups()
        for optimizer in checkpoint.get('optimizer_states', ()):
            for saved, group in zip(optimizer['param_groups'], groups, strict=True):
                rate, before = group['lr'], saved['initial_lr']
                if rate != before:
                    saved['lr'] *= rate / before
                saved.update(initial_lr=rate, weight_decay=group['weight_decay'])
        for schedule in checkpoint.get('lr_schedulers', ()):
            schedule['base_lrs'] = [group['lr'] for group in groups]

    def _load_initial(self, initial: Path) -> dict[str, Any]:
        network, info = load_checkpoint(initial)
        config = self.network.config
        # The stride changes dilations, not the shapes of the weights.
        if replace(info.network, stride=config.stride) != config:
            msg = f'{initial}: holds the network {info.network}, but {config} is to be trained'
            raise CheckpointError(msg)
        self.network.load_state_dict(network.state_dict())
        return {'data': info.data, 'terms': info.terms, 'recipe': info.recipe}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        settings = (
            (self.network, self.learning_rate, self.weight_decay),
            (self.weighting, self.uncertainty_learning_rate, 0.0),
        )
        return [
            {'params': parameters, 'lr': rate, 'weight_decay': decay}
            for module, rate, decay in settings
            if (parameters := list(module.parameters()))
        ]

    def _trained(self) -> dict[str, Any]:
        """Return the settings that a checkpoint to resume from must share."""
        network = {f'network.{key}': value for key, value in asdict(self.network.config).items()}
        weighting = type(self.weighting).__name__
        return {**network, 'weighting': weighting, 'optimizer': self.optimizer_name}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimizer and its schedule; uncertainties have a group without decay."""
        groups = self._parameter_groups()
        optimizer: torch.optim.Optimizer
        if self.optimizer_name == 'sgd':
            optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.AdamW(groups)
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            msg = 'the learning rate needs an end: set trainer.max_steps or trainer.max_epochs'
            raise ValueError(msg)

        def factor(i: int) -> float:
            return min(1, (i + 1) / max(1, self.warmup_steps)) * (1 - min(i / steps, 1)) ** 0.9

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {'optimizer': optimizer, 'lr_scheduler': {'scheduler': schedule, 'interval': 'step'}}


def _weighting(
    name: str, network: NetworkConfig, fixed_weights: dict[str, float] | None
) -> UncertaintyWeighting | FixedWeighting:
    if name == 'uncertainty':
        if fixed_weights is not None:
            msg = 'model.fixed_weights requires model.weighting fixed'
            raise ValueError(msg)
        return UncertaintyWeighting(network.tasks)
    if fixed_weights is None or set(fixed_weights) != set(network.tasks):
        msg = f'model.weighting fixed needs model.fixed_weights for {", ".join(network.tasks)}'
        raise ValueError(msg)
    return FixedWeighting(fixed_weights)


def _means_over_processes(sums: Mapping[str, LossSum]) -> dict[str, Tensor]:
    """Return the mean of each loss over the valid pixels of all processes; omit empty ones."""
    totals = torch.stack([loss.total.detach() for loss in sums.values()])
    counts = torch.stack([loss.count.float() for loss in sums.values()])
    pooled = sum_over_processes(torch.stack([totals, counts, torch.ones_like(counts)], dim=1))
    known = (pooled[:, 1] > 0).tolist()  # waits for the GPU once
    means = {}
    for i, (task, loss) in enumerate(sums.items()):
        if known[i]:
            total, count, processes = pooled[i]
            # DDP averages gradients over processes, so the share of this process is multiplied by
            # their number. The share carries the gradient, the mean over all the value.
            share = loss.total * processes / count
            means[task] = share + (total / count - share).detach()
    return means
