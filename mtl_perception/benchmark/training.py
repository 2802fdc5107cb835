# SPDX-License-Identifier: Apache-2.0
"""Speed of training, compared with the network alone."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from tqdm import tqdm

from mtl_perception.benchmark.measuring import Result, Times, describe_machine, times_of
from mtl_perception.network.multitask import normalize
from mtl_perception.training.cli import training_cli

LOOP, ALONE, EAGER = 'loop', 'network alone', 'network alone, eager float32'

PREFETCHED = 2
"""Batches that each worker of PyTorch's loader prepares in advance."""


@dataclass(frozen=True)
class Row:
    """Median rate of the rounds and times of the steps of ``LOOP``, ``ALONE`` or ``EAGER``."""

    what: str
    samples_per_s: float
    times: Times

    def __str__(self) -> str:
        row = f'{self.what:<32}{self.times.calls:>6}{self.samples_per_s:>12,.2f}{self.times}'
        return f'{row}{self.times.spread:>9,.1f} ms'


@dataclass(frozen=True)
class TrainingBenchmark(Result):
    """Speed of training on samples of ``crop`` (height, width).

    Attributes:
        cache: Whether frames come from the cache.
        ratio, ratio_lowest, ratio_highest: Rate of the loop relative to the network alone: median,
            lowest and highest of the rounds.
    """

    encoder: str
    tasks: Sequence[str]
    crop: Sequence[int]
    batch_size: int
    workers: int
    cache: bool
    precision: str
    device: str
    rows: Sequence[Row]
    ratio: float
    ratio_lowest: float
    ratio_highest: float

    def __str__(self) -> str:
        machine, (height, width) = self.machine, self.crop
        rows = '\n'.join(map(str, self.rows))
        return (
            f'{machine.cpu if self.device == "cpu" else machine.gpu}, {machine.cores} cores; '
            f'torch {machine.torch}\n'
            f'{self.encoder}, {", ".join(self.tasks)}; {self.batch_size} crops of '
            f'{height}×{width}, {self.precision}; {self.workers} workers, '
            f'{"frames from the cache" if self.cache else "no cache"}\n\n'
            f'{"":<32}{"steps":>6}{"samples/s":>12}{"median":>12}{"p99":>12}{"spread":>12}\n'
            f'{rows}\n'
            f'the loop reaches {self.ratio:.0%} of the network alone (in single rounds '
            f'{self.ratio_lowest:.0%} to {self.ratio_highest:.0%})'
        )


def benchmark_training(
    config: Path, overrides: Sequence[str], *, rounds: int, steps: int, compare: bool
) -> TrainingBenchmark:
    """Time the loop of ``mtl train`` in turns with the network alone.

    The loop loads, augments and trains through Lightning. The network alone repeats forward,
    losses, backward and optimizer step on one batch that is already on the device; ``compare``
    repeats them in eager float32 too. Each has ``rounds`` turns of ``steps`` optimizer steps.
    Batches that workers prepared while the loop paused do not count. With ``data.cache``, all
    frames are cached before the first turn. ``overrides`` are options of ``mtl train fit``.

    Raises:
        ValueError, FileNotFoundError: A value or a file of the configuration cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix='mtl_benchmark_') as folder:
        trainer_options = {
            'default_root_dir': folder,
            'max_steps': '-1',
            'accumulate_grad_batches': '1',
            'devices': '1',
            'limit_val_batches': '0',
            'logger': 'false',
            'enable_progress_bar': 'false',
            'enable_model_summary': 'false',
        }
        own = [f'--trainer.{name}={value}' for name, value in trainer_options.items()]
        cli = training_cli(['--config', str(config), *overrides, *own], runs=False)
        others = (ALONE, EAGER) if compare else (ALONE,)
        turns = Turns(rounds, steps, 1 + PREFETCHED * cli.datamodule.workers, others)
        # A checkpoint of a large network takes longer to write than the turns take.
        callbacks: list[Callback] = cli.trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:] = [found for found in callbacks if not isinstance(found, Checkpoint)] + [turns]
        cli.trainer.fit(cli.model, cli.datamodule)
    data, network = cli.datamodule, cli.model.network.config
    device = cli.trainer.strategy.root_device
    rates = {
        name: [data.batch_size * steps * 1e3 / sum(turn) for turn in each]
        for name, each in turns.milliseconds.items()
    }
    ratios = [loop / alone for loop, alone in zip(rates[LOOP], rates[ALONE], strict=True)]
    rows = [
        Row(name, statistics.median(rates[name]), times_of(list(itertools.chain(*each))))
        for name, each in turns.milliseconds.items()
    ]
    return TrainingBenchmark(
        machine=describe_machine(device),
        encoder=network.encoder,
        tasks=network.tasks,
        crop=data.crop,
        batch_size=data.batch_size,
        workers=data.workers,
        cache=data.cache is not None,
        precision=cli.trainer.precision,
        device=str(device),
        rows=rows,
        ratio=statistics.median(ratios),
        ratio_lowest=min(ratios),
        ratio_highest=max(ratios),
    )


class Turns(Callback):
    """Callback that times steps of the loop in turns with steps of the ``others``.

    Each of the ``rounds`` turns begins with ``skips`` untimed steps of the loop.

    Attributes:
        milliseconds: Time of each timed step in a list per turn, by ``LOOP`` or one of ``others``.
    """

    def __init__(self, rounds: int, steps: int, skips: int, others: Sequence[str]) -> None:
        self._rounds, self._steps, self._skips = rounds, steps, skips
        self.milliseconds: dict[str, list[list[float]]] = {name: [] for name in (LOOP, *others)}
        self._turn: list[float] = []
        self._last = 0.0
        self._bar = tqdm(total=rounds, desc='train', unit='round', disable=None)

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.cache is not None:
            steps = self._rounds * (self._skips + self._steps)
            for _ in itertools.islice(data.train_dataloader(), steps):
                pass
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, _outputs: Any, batch: Any, *_: Any
    ) -> None:
        now = _now(pl_module)
        self._turn.append((now - self._last) * 1e3)
        if len(self._turn) == self._skips + self._steps:
            self.milliseconds[LOOP].append(self._turn[self._skips :])
            for name in list(self.milliseconds)[1:]:
                self.milliseconds[name].append(self._others(name, trainer, pl_module, batch))
            self._turn = []
            self._bar.update()
            trainer.should_stop = len(self.milliseconds[LOOP]) == self._rounds
            now = _now(pl_module)
        self._last = now

    def _others(self, name: str, trainer: L.Trainer, module: Any, batch: Any) -> list[float]:
        (optimizer,) = trainer.optimizers
        precision: Any = trainer.precision_plugin
        run, context, scaler = module.network.forward, nullcontext, None  # __call__ may be compiled
        if name == ALONE:
            # The loop has a scaler with 16-mixed.
            run, context = module.network, precision.train_step_context
            scaler = getattr(precision, 'scaler', None)
        scaler = scaler or torch.amp.GradScaler(enabled=False)
        milliseconds = []
        for _ in range(1 + self._steps):  # the first warms up
            start = _now(module)
            optimizer.zero_grad()
            with context():
                total = module.weighting(module.losses(run(normalize(batch['image'])), batch))
            scaler.scale(total).backward()
            scaler.step(optimizer)
            scaler.update()
            milliseconds.append((_now(module) - start) * 1e3)
        optimizer.zero_grad()
        return milliseconds[1:]


def _now(module: L.LightningModule) -> float:
    if module.device.type == 'cuda':
        torch.cuda.synchronize(module.device)
    return time.perf_counter()
