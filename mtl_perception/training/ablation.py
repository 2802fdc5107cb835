# SPDX-License-Identifier: Apache-2.0
"""The paper's ablation: train one network with nine choices of tasks and weights."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from mtl_perception.files import make_folder, write_file
from mtl_perception.training.cli import RESUME_FILE
from mtl_perception.training.comparison import ROWS, finished_run, run_folder, write_comparison

SETTINGS_FILE, CONFIG_FILE = 'settings.json', 'config.yaml'

PROGRAM = (sys.executable, '-m', 'mtl_perception', 'train', 'fit')


class AblationError(ValueError):
    """An ablation cannot be run or continued; the message states the reason."""


def ablate(
    config: Path,
    output: Path,
    *,
    rows: Sequence[str] = tuple(ROWS),
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
) -> str:
    """Train the unfinished runs of ``rows`` × ``seeds`` and return the table of all finished runs.

    Every run is ``mtl train fit`` with ``config`` and ``overrides`` in its own process. Only the
    tasks and their weights differ: budgets are equal, and runs with one seed share the samples,
    their order and the initial weights of their common parts. An interrupted run resumes from its
    last checkpoint. A run in progress in another process is skipped and checked again at the end,
    so several processes can share the work, one on each GPU. Each finished run updates
    ``ablation.md``, ``ablation.json`` and ``curves.png`` in ``output``. All figures belong to the
    final checkpoints and all validation frames.

    Raises:
        AblationError: ``output`` was begun with other settings, or runs failed.
        OSError: ``config`` cannot be read, or ``output`` cannot be written.
    """
    make_folder(output)
    with _lock(output):
        _keep_settings(output, config, overrides)
    command = [*PROGRAM, '--config', str(output / CONFIG_FILE), *overrides]
    wanted = [(row, seed) for seed in seeds for row in rows]
    failed = []

    def compare() -> str:
        with _lock(output):
            return write_comparison(output)

    def finish(i: int, *, waits: bool) -> bool:
        """Train an unfinished run; return whether it is in progress in another process."""
        row, seed = wanted[i]
        name = f'{i + 1} of {len(wanted)}: {row}, seed {seed}'
        folder = run_folder(output, row, seed)
        make_folder(folder)
        with _lock(folder, waits=waits) as lock:
            if lock is None:
                print(f'{name}: in progress in another process', flush=True)
            elif not finished_run(folder):
                print(name, flush=True)
                status = _train([*command, *_options(row, seed, folder)], lock)
                if status or not finished_run(folder):
                    failed.append(f'{row}, seed {seed} (status {status})')
                else:
                    compare()
        return lock is None

    elsewhere = [i for i in range(len(wanted)) if finish(i, waits=False)]
    for i in elsewhere:
        finish(i, waits=True)
    table = compare()
    if failed:
        msg = (
            f'{output}: {len(failed)} of {len(wanted)} runs failed: {", ".join(failed)}; see their '
            'messages above, and repeat the command to retry them'
        )
        raise AblationError(msg)
    return table


def _options(key: str, seed: int, folder: Path) -> list[str]:
    """Return the options of ``mtl train fit`` in which a run differs from the others."""
    row = ROWS[key]
    options = {
        'trainer.default_root_dir': str(folder),
        'seed_everything': str(seed),
        'data.val_frames': 'null',
        'trainer.limit_val_batches': '1.0',
        'model.network.tasks': json.dumps(row.tasks),
        'model.weighting': 'fixed' if row.weights else 'uncertainty',
        'model.fixed_weights': json.dumps(row.by_task(row.weights) or None),
    }
    if (folder / RESUME_FILE).is_file():
        options['ckpt_path'] = str(folder / RESUME_FILE)
    return [word for name, value in options.items() for word in (f'--{name}', value)]


def _train(command: Sequence[str], lock: int) -> int:
    # The child inherits the lock, because it may outlive this process.
    with subprocess.Popen(command, pass_fds=(lock,)) as process:  # noqa: S603
        try:
            return process.wait()
        finally:
            process.terminate()  # no effect on a process that has ended
            process.wait()


@contextmanager
def _lock(folder: Path, *, waits: bool = True) -> Iterator[int | None]:
    """Lock ``folder`` against other processes; yield ``None`` if another one holds the lock."""
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _keep_settings(output: Path, config: Path, overrides: Sequence[str]) -> None:
    """Write the settings, or check that they are equal, as the budgets in a table must be.

    The runs read a copy of ``config``, so the original may be edited meanwhile.
    """
    path = output / SETTINGS_FILE
    try:
        values = yaml.safe_load(config.read_text())
    except yaml.YAMLError as err:
        msg = f'{config}: not a YAML file: {" ".join(str(err).split())}'
        raise AblationError(msg) from err
    settings = {'config': values, 'overrides': list(overrides)}
    if not path.is_file():
        # Not write_json: settings are compared later, and it would replace an infinite number.
        write_file(path, (json.dumps(settings, indent=2) + '\n').encode())
    elif json.loads(path.read_text()) != settings:
        msg = (
            f'{output}: was begun with another configuration or other options (see {path.name}); '
            'use the same ones, or another --output'
        )
        raise AblationError(msg)
    write_file(output / CONFIG_FILE, yaml.safe_dump(values, sort_keys=False).encode())
