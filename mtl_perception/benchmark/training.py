"""Speed of training, compared with the network alone."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from mtl_perception.benchmark.measuring import Machine, Times, describe_machine, times_of
from mtl_perception.network.multitask import NetworkOutput, normalize
from mtl_perception.training.cli import training_cli

LOOP, ALONE, EAGER = 'loop', 'network alone', 'network alone, eager float32'

PREFETCHED = 2
"""Batches that each worker of PyTorch's loader prepares in advance."""

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """Median rate of the rounds and times of the steps of ``LOOP``, ``ALONE`` or ``EAGER``."""

    what: str
    samples_per_s: float
    times: Times

    def __str__(self) -> str:
        times = self.times
        return (
            f'{self.what:<32}{times.calls:>6}{self.samples_per_s:>12,.2f}{times}'
            f'{times.spread:>9,.1f} ms'
        )


@dataclass(frozen=True)
class TrainingBenchmark:
    """Speed of training on samples of ``crop`` (height, width), printed as a table.

    Attributes:
        cache: Whether frames come from the cache.
        ratio: Ratio of the loop's rate to the rate of the network alone, median of the rounds.
        ratio_lowest: Lowest ratio of a round.
        ratio_highest: Highest ratio of a round.
    """

    machine: Machine
    encoder: str
    tasks: Sequence[str]
    crop: Sequence[int]
    batch_size: int
    workers: int
    cache: bool
    precision: str
    device: torch.device
    rows: Sequence[Row]
    ratio: float
    ratio_lowest: float
    ratio_highest: float

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self) | {'device': str(self.device)}

    def __str__(self) -> str:
        machine, (height, width) = self.machine, self.crop
        name = machine.cpu if self.device.type == 'cpu' else machine.gpu
        lines = (
            f'{name}, {machine.cores} cores; torch {machine.torch}',
            (
                f'{self.encoder}, {", ".join(self.tasks)}; {self.batch_size} crops of '
                f'{height}×{width}, {self.precision}; {self.workers} workers, '
                f'{"frames from the cache" if self.cache else "no cache"}'
            ),
            '',
            f'{"":<32}{"steps":>6}{"samples/s":>12}{"median":>12}{"p99":>12}{"spread":>12}',
            *self.rows,
            (
                f'the loop reaches {self.ratio:.0%} of the network alone (in single rounds '
                f'{self.ratio_lowest:.0%} to {self.ratio_highest:.0%})'
            ),
        )
        return '\n'.join(map(str, lines))


def benchmark_training(
    config: Path, overrides: Sequence[str], *, rounds: int, steps: int, compare: bool
) -> TrainingBenchmark:
    """Time the loop of ``mtl train`` in turns with the network alone.

    The loop loads, augments and trains through Lightning. The network alone repeats forward,
    losses, backward and optimizer step on one batch that is already on the device. Batches that
    workers prepared while the loop paused do not count. With ``data.cache``, all frames are cached
    before the first turn.

    Args:
        config: Configuration of ``mtl train``.
        overrides: Options of ``mtl train fit``.
        rounds: Number of turns of each.
        steps: Optimizer steps per turn.
        compare: Also time the network alone in eager float32.

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
        own = [word for k, v in trainer_options.items() for word in (f'--trainer.{k}', v)]
        cli = training_cli(['--config', str(config), *overrides, *own], runs=False)
        others = (ALONE, EAGER) if compare else (ALONE,)
        turns = Turns(rounds, steps, 1 + PREFETCHED * cli.datamodule.workers, others)
        cli.trainer.callbacks.append(turns)  # type: ignore[attr-defined]
        cli.trainer.fit(cli.model, cli.datamodule)
    data, network = cli.datamodule, cli.model.network.config
    device = cli.trainer.strategy.root_device
    per_round = {
        name: [data.batch_size * steps * 1e3 / sum(turn) for turn in turns.milliseconds[name]]
        for name in turns.milliseconds
    }
    ratios = [a / b for a, b in zip(per_round[LOOP], per_round[ALONE], strict=True)]
    rows = [
        Row(
            what=name,
            samples_per_s=statistics.median(rates),
            times=times_of(list(itertools.chain(*turns.milliseconds[name]))),
        )
        for name, rates in per_round.items()
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
        device=device,
        rows=rows,
        ratio=statistics.median(ratios),
        ratio_lowest=min(ratios),
        ratio_highest=max(ratios),
    )


class Turns(Callback):
    """Callback that times steps of the loop in turns with steps of the network alone.

    Args:
        rounds: Number of turns of each.
        steps: Optimizer steps per turn.
        skips: Untimed steps of the loop at the start of each turn.
        others: Other ways to time, ``ALONE`` or ``EAGER``.

    Attributes:
        milliseconds: Time of each timed step in a list per turn, by the name of the way.
    """

    def __init__(self, rounds: int, steps: int, skips: int, others: Sequence[str]) -> None:
        self._rounds, self._steps, self._skips = rounds, steps, skips
        self.milliseconds: dict[str, list[list[float]]] = {name: [] for name in (LOOP, *others)}
        self._turn: list[float] = []
        self._skipped = 0
        self._last = 0.0
        self._bar = tqdm(total=rounds, desc='train', unit='round', disable=None)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.cache is not None:
            steps = self._rounds * (self._skips + self._steps)
            for _ in itertools.islice(data.train_dataloader(), steps):
                pass
        self._last = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        now = _now(pl_module)
        if self._skipped < self._skips:
            self._skipped += 1
        else:
            self._turn.append((now - self._last) * 1e3)
        if len(self._turn) == self._steps:
            self.milliseconds[LOOP].append(self._turn)
            for name in list(self.milliseconds)[1:]:
                self.milliseconds[name].append(self._others(name, trainer, pl_module, batch))
            self._turn, self._skipped = [], 0
            self._bar.update()
            trainer.should_stop = len(self.milliseconds[LOOP]) == self._rounds
            now = _now(pl_module)
        self._last = now

    def _others(self, name: str, trainer: L.Trainer, module: Any, batch: Batch) -> list[float]:
        (optimizer,) = trainer.optimizers
        # The loop has a scaler with 16-mixed; a disabled scaler changes nothing.
        own = getattr(trainer.precision_plugin, 'scaler', None) if name == ALONE else None
        scaler = own or torch.amp.GradScaler(enabled=False)
        milliseconds = []
        for _ in range(1 + self._steps):  # the first warms up
            start = _now(module)
            optimizer.zero_grad()
            scaler.scale(_total(name, trainer, module, batch)).backward()
            scaler.step(optimizer)
            scaler.update()
            milliseconds.append((_now(module) - start) * 1e3)
        optimizer.zero_grad()
        return milliseconds[1:]


def _total(name: str, trainer: L.Trainer, module: Any, batch: Batch) -> Tensor:
    def total(run: Callable[[Tensor], NetworkOutput]) -> Tensor:
        return module.weighting(module.losses(run(normalize(batch['image'])), batch))

    if name == EAGER:
        return total(module.network.forward)  # __call__ may be compiled
    with trainer.precision_plugin.train_step_context():
        return total(module.network)


def _now(module: L.LightningModule) -> float:
    if module.device.type == 'cuda':
        torch.cuda.synchronize(module.device)
    return time.perf_counter()
