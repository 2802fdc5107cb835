"""How many samples a second are trained on, and how many the network alone would take."""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from mtl_perception.benchmark.measuring import machine, milliseconds_columns, times_of
from mtl_perception.network.multitask import NetworkOutput, normalize
from mtl_perception.training.cli import training_cli

LOOP, ALONE, EAGER = 'loop', 'network alone', 'network alone, eager float32'

PREFETCHED = 2
"""Batches that a worker of PyTorch's loader makes in advance."""

Batch = Mapping[str, Any]


def benchmark_training(
    config: Path,
    overrides: Sequence[str] = (),
    *,
    rounds: int,
    steps: int,
    compare: bool = False,
) -> dict[str, Any]:
    """Train as ``mtl train`` does, and in turns with that the network alone; return the figures.

    The loop reads, augments and trains through Lightning. The network alone repeats forward,
    losses, backward and optimizer step on one batch that is already on the device. What workers
    made while the loop paused does not count, and with ``data.cache`` all frames are in it before.

    Args:
        config: what ``mtl train`` takes.
        overrides: options of ``mtl train fit``.
        rounds: how often each takes its turn.
        steps: of a turn.
        compare: also time the network alone in eager float32.

    Raises:
        ValueError, FileNotFoundError: a value or a file of the configuration cannot be used.
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
    return {
        'machine': machine(device),
        'encoder': network.encoder,
        'tasks': list(network.tasks),
        'crop': list(data.crop),
        'batch_size': data.batch_size,
        'workers': data.workers,
        'cache': data.cache is not None,
        'precision': cli.trainer.precision,
        'device': str(device),
        'rows': [
            {
                'what': name,
                'samples_per_s': statistics.median(rates),
                'times': asdict(times_of(list(itertools.chain(*turns.milliseconds[name])))),
            }
            for name, rates in per_round.items()
        ],
        'ratio': statistics.median(ratios),
        'ratio_lowest': min(ratios),
        'ratio_highest': max(ratios),
    }


class Turns(Callback):
    """Times steps of a training, and after so many of them other steps of the same network.

    Args:
        rounds: how often each takes its turn.
        steps: of a turn.
        skips: steps of the training that do not count, at the start of each turn.
        others: what else is timed, ``ALONE`` or ``EAGER``.

    Attributes:
        milliseconds: of every step that counts, by what was timed, a list for each turn.
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
        # With 16-mixed the loop has one; a disabled one only passes on.
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


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_training`` as text."""
    return '\n'.join(_table_lines(figures))


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


def _table_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    where = figures['machine']
    height, width = figures['crop']
    name = where['cpu'] if figures['device'] == 'cpu' else where['gpu']
    yield f'{name}, {where["cores"]} cores; torch {where["torch"]}'
    yield (
        f'{figures["encoder"]}, {", ".join(figures["tasks"])}; {figures["batch_size"]} crops of '
        f'{height}×{width}, {figures["precision"]}; {figures["workers"]} workers, '
        f'{"frames from the cache" if figures["cache"] else "no cache"}'
    )
    yield ''
    yield f'{"":<32}{"steps":>6}{"samples/s":>12}{"median":>12}{"p99":>12}{"spread":>12}'
    for row in figures['rows']:
        times = row['times']
        yield (
            f'{row["what"]:<32}{times["calls"]:>6}{row["samples_per_s"]:>12,.2f}'
            f'{milliseconds_columns(times)}{times["spread"]:>9,.1f} ms'
        )
    yield (
        f'the loop reaches {figures["ratio"]:.0%} of the network alone (in single rounds '
        f'{figures["ratio_lowest"]:.0%} to {figures["ratio_highest"]:.0%})'
    )
