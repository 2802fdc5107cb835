"""The paper's ablation: one network under every choice of tasks and weights, side by side."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from mtl_perception.files import make_folder, write_file, write_json
from mtl_perception.training.cli import RESUME_FILE
from mtl_perception.training.comparison import ROWS, finished_run, run_folder, write_comparison

SETTINGS_FILE, CONFIG_FILE = 'settings.json', 'config.yaml'


class AblationError(ValueError):
    """An ablation cannot be run or continued; the message says why."""


def ablate(
    config: Path,
    output: Path,
    *,
    rows: Sequence[str] = tuple(ROWS),
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
) -> str:
    """Train what is missing of ``rows`` × ``seeds`` and return the table of all that is there.

    Every run is ``mtl train fit`` in a process of its own, with the same configuration but for the
    tasks and their weights: equal budgets, and for one seed the same samples in the same order and
    the same first weights of what the networks have in common. A run that was interrupted goes on
    from its last checkpoint. One that another process works on is left to it, and looked at again
    in the end, so that several may share the work, one on each GPU. After each run,
    ``ablation.md``, ``ablation.json`` and ``curves.png`` are brought up to date. The figures are
    those of the final checkpoints on all validation frames.

    Args:
        config: what ``mtl train`` takes.
        output: folder for the runs and their comparison.
        rows: keys of ``ROWS``.
        seeds: of first weights, order and augmentation.
        overrides: options of ``mtl train fit`` for all runs.

    Raises:
        AblationError: ``output`` was begun with other settings, or runs failed.
        OSError: ``config`` cannot be read, or ``output`` cannot be written.
    """
    make_folder(output)
    with _lock(output):
        _keep_settings(output, config, overrides)
    command = _command(output / CONFIG_FILE, overrides)
    wanted = [(row, seed) for seed in seeds for row in rows]
    failed = []

    def finish(i: int, *, waits: bool) -> bool:
        """Train the ``i``-th run if it is not finished; return whether it is another process's."""
        row, seed = wanted[i]
        name, folder = (
            f'{i + 1} of {len(wanted)}: {row}, seed {seed}',
            run_folder(output, row, seed),
        )
        make_folder(folder)
        with _lock(folder, waits=waits) as lock:
            if lock is None:
                print(f'{name}: in progress in another process', flush=True)
                return True
            if not finished_run(folder):
                print(name, flush=True)
                status = _train([*command, *_options(row, seed, folder)], lock)
                if status or not finished_run(folder):
                    failed.append(f'{row}, seed {seed} (status {status})')
                else:
                    _write_comparison(output)
        return False

    elsewhere = [i for i in range(len(wanted)) if finish(i, waits=False)]
    for i in elsewhere:
        finish(i, waits=True)
    table = _write_comparison(output)
    if failed:
        msg = (
            f'{output}: {len(failed)} of {len(wanted)} runs failed: {", ".join(failed)}; their '
            'messages are above, and the same command tries them again'
        )
        raise AblationError(msg)
    return table


def _command(config: Path, overrides: Sequence[str]) -> list[str]:
    program = [sys.executable, '-m', 'mtl_perception', 'train', 'fit']
    return [*program, '--config', str(config), *overrides]


def _options(key: str, seed: int, folder: Path) -> list[str]:
    """Return what distinguishes a run from the others, as options of ``mtl train fit``."""
    row = ROWS[key]
    options = {
        'trainer.default_root_dir': str(folder),
        'seed_everything': str(seed),
        'data.val_frames': 'null',
        'trainer.limit_val_batches': '1.0',
        'model.network.tasks': json.dumps(row.tasks),
        'model.weighting': 'uncertainty' if row.weights is None else 'fixed',
        'model.fixed_weights': json.dumps(row.weights),
    }
    if (folder / RESUME_FILE).is_file():
        options['ckpt_path'] = str(folder / RESUME_FILE)
    return [word for name, value in options.items() for word in (f'--{name}', value)]


def _train(command: Sequence[str], lock: int) -> int:
    # The child holds the lock too: it may outlive this process.
    with subprocess.Popen(command, pass_fds=(lock,)) as process:  # noqa: S603
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


@contextmanager
def _lock(folder: Path, *, waits: bool = True) -> Iterator[int | None]:
    """Keep other processes out of ``folder``; yield ``None`` where one of them is in it."""
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _keep_settings(output: Path, config: Path, overrides: Sequence[str]) -> None:
    """Write the settings, or see that they are the same: budgets in a table must be equal.

    The runs get a copy of ``config``, which may be edited while they go on.
    """
    path = output / SETTINGS_FILE
    try:
        values = yaml.safe_load(config.read_text())
    except yaml.YAMLError as err:
        msg = f'{config}: not a YAML file: {" ".join(str(err).split())}'
        raise AblationError(msg) from err
    settings = {'config': values, 'overrides': list(overrides)}
    if not path.is_file():
        write_json(path, settings)
    elif json.loads(path.read_text()) != settings:
        msg = (
            f'{output}: was begun with another configuration or other options, which are in '
            f'{path.name}; use those, or another --output'
        )
        raise AblationError(msg)
    write_file(output / CONFIG_FILE, yaml.safe_dump(values, sort_keys=False).encode())


def _write_comparison(output: Path) -> str:
    with _lock(output):
        return write_comparison(output)
