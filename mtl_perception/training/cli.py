# SPDX-License-Identifier: Apache-2.0
"""``mtl train``: LightningCLI that ends with a checkpoint for inference."""

import os
import pickle
import subprocess
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from mtl_perception.inference.devices import multiplies_bfloat16
from mtl_perception.memory import reuse_freed_memory
from mtl_perception.network.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    record_metrics,
    save_checkpoint,
)
from mtl_perception.training.callbacks import (
    AtomicCheckpointIO,
    CurvesPicture,
    KillSiblingsOnFailure,
    ResolvedConfig,
    ResumableCheckpoint,
    ValidationPictures,
)
from mtl_perception.training.data import StreetData
from mtl_perception.training.module import MultiTaskModule, TrainingError

CHECKPOINT_NAME, RESUME_FILE = 'model.safetensors', 'last.ckpt'

LOCAL = (
    ('trainer', 'default_root_dir'),
    ('trainer', 'logger'),
    ('trainer', 'callbacks'),
    ('model', 'initial'),
    ('data', 'cache'),
)
"""Paths and loggers of this machine, which stay out of the checkpoint's recipe."""

FIT_USAGE = (
    'mtl train fit --config FILE [--SECTION.OPTION VALUE ...]\n'
    'FILE is for example config/train_synthetic.yaml'
)


def run(arguments: list[str]) -> None:
    """Run LightningCLI with ``arguments``, ``fit --config …`` for example.

    Raises:
        ValueError, FileNotFoundError: A value or a file of the configuration is invalid.
        TrainingError: The GPU's memory is too small, or Lightning rejects a value.
        OSError: A checkpoint cannot be written.
    """
    try:
        training_cli(arguments)
    except torch.cuda.OutOfMemoryError as err:
        msg = (
            'the GPU has not enough memory: lower data.batch_size and raise '
            'trainer.accumulate_grad_batches by the same factor, or lower data.crop'
        )
        raise TrainingError(msg) from err
    except MisconfigurationException as err:
        raise TrainingError(str(err)) from err


def training_cli(arguments: list[str], *, runs: bool = True) -> 'TrainingCLI':
    """Build trainer, model and data, run the subcommand, and return the CLI.

    With ``runs=False``, the arguments are options without a subcommand. For errors see ``run``.
    """
    reuse_freed_memory()  # on a CPU, new pages for every activation make a step 7 % slower
    # Lightning starts the processes of other GPUs with ``sys.argv``, so it must stay as it is.
    warnings.filterwarnings('ignore', "LightningCLI's args parameter")
    # StreetData continues at its own position, which Lightning does not check.
    warnings.filterwarnings('ignore', '.*your dataloader is not resumable')
    # Frozen batch norm is in evaluation mode on purpose.
    warnings.filterwarnings('ignore', '.*in eval mode at the start of training')
    return TrainingCLI(
        MultiTaskModule,
        StreetData,
        args=arguments,
        run=runs,
        # The default usage is a hundred lines of options before the error.
        parser_kwargs={'prog': 'mtl train', 'usage': FIT_USAGE, 'fit': {'usage': FIT_USAGE}},
        seed_everything_default=0,
        trainer_defaults={
            'default_root_dir': 'out/train',
            'callbacks': [ValidationPictures(), CurvesPicture(), KillSiblingsOnFailure()],
        },
        save_config_callback=ResolvedConfig,
        save_config_kwargs={'save_to_log_dir': False},
        auto_configure_optimizers=False,  # the module has its own
    )


class TrainingCLI(LightningCLI):
    """Keep all files of a run in ``trainer.default_root_dir``, and end with a checkpoint."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--checkpoint``, the options of ``last.ckpt``, which a run resumes from."""
        parser.add_lightning_class_args(ResumableCheckpoint, 'checkpoint')
        parser.set_defaults(
            {
                'checkpoint.every_n_train_steps': 1000,
                'checkpoint.save_last': True,
                'checkpoint.save_top_k': 0,
                'checkpoint.enable_version_counter': False,  # overwrite last.ckpt
            }
        )
        parser.link_arguments('trainer.default_root_dir', 'checkpoint.dirpath')
        parser.link_arguments('seed_everything', 'data.seed', compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse ``args`` and check the file to resume from.

        Raises:
            CheckpointError: The file to resume from is damaged.
        """
        super().parse_arguments(parser, args)
        subcommand = self.config.get('subcommand')
        path = Path((subcommand and self.config[subcommand].get('ckpt_path')) or '')
        if not path.is_file():
            return  # Lightning also accepts words, "last" for example
        try:  # Lightning reads the file later and would raise a long traceback
            torch.load(path, map_location='cpu', mmap=True, weights_only=True)
        except (EOFError, LookupError, RuntimeError, pickle.UnpicklingError) as err:
            msg = (
                f'{path}: not a checkpoint to resume from, or damaged; leave out --ckpt_path to '
                'start from the beginning'
            )
            raise CheckpointError(msg) from err

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a trainer that writes checkpoints whole or not at all."""
        plugins = self._get(self.config_init, 'trainer.plugins') or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        return super().instantiate_trainer(plugins=[*plugins, AtomicCheckpointIO()], **kwargs)

    def before_fit(self) -> None:
        """Check processes, precision and output folder.

        Raises:
            TrainingError: The folder holds another training, more processes were started than take
                part, or the network does not support the precision.
        """
        # torchrun and Lightning set WORLD_SIZE.
        tasks = os.environ['SLURM_NTASKS'] if SLURMEnvironment.detect() else 1
        started, processes = int(os.environ.get('WORLD_SIZE', tasks)), self.trainer.world_size
        if started not in (1, processes):
            msg = (
                f'{started} processes were started, but trainer.devices and trainer.num_nodes '
                f'expect {processes}, so each would train alone: set --trainer.devices to the '
                'number of processes per machine'
            )
            raise TrainingError(msg)
        precision = str(self.trainer.precision)
        if precision.endswith('-true') and precision != '32-true':
            msg = f'trainer.precision {precision}: choose 32-true, bf16-mixed or 16-mixed'
            raise TrainingError(msg)
        saved = Path(self.trainer.default_root_dir) / RESUME_FILE
        if saved.is_file() and not self.config[self.subcommand].get('ckpt_path'):
            msg = (
                f'{saved}: belongs to an earlier training and would be overwritten; resume it with '
                f'--ckpt_path {saved}, or choose another folder with --trainer.default_root_dir'
            )
            raise TrainingError(msg)
        device = self.trainer.strategy.root_device
        if precision.startswith('bf16') and not multiplies_bfloat16(device):
            other = '16-mixed' if device.type == 'cuda' else '32-true'
            rank_zero_warn(
                f'{precision} is slow, because this {device.type.upper()} has no instructions for '
                f'bfloat16: use --trainer.precision {other}'
            )

    def after_fit(self) -> None:
        """Write the trained network with its validation figures, next to Lightning's files."""
        path = Path(self.trainer.default_root_dir) / CHECKPOINT_NAME
        self._save(path)
        figures = self._measure()
        if skipped := self.datamodule.skipped:
            drawn = f'{len(skipped)} damaged frames, drawn {skipped.total()} times'
            print(f'skipped: {drawn}; each is named above', flush=True)
        if figures and self.trainer.is_global_zero:
            record_metrics(path, 'val', figures)
        message = f'{path}: written'
        if 'semantic' in self.model.network.config.tasks:
            root = next(iter(self.datamodule.roots))
            message += f'; evaluate it with "mtl evaluate --data {root} --checkpoint {path}"'
        rank_zero_info(message)

    def _save(self, path: Path) -> None:
        failure: OSError | None = None
        if self.trainer.is_global_zero:
            try:
                save_checkpoint(path, self.model.network, self._info())
            except OSError as err:
                failure = err
        # All processes raise; otherwise the others would wait for this one in the validation.
        failure = self.trainer.strategy.broadcast(failure)
        if failure is not None:
            raise failure

    def _info(self) -> CheckpointInfo:
        data, origin = self.datamodule, self.model.origin
        recipe = {
            'steps': self.trainer.global_step,
            'processes': self.trainer.world_size,
            'config': self._resolved(),
        }
        if origin:
            recipe['initial'] = {'data': origin['data'], **origin['recipe']}
        terms = [data.terms, origin.get('terms')]  # terms of the initial data still apply
        return CheckpointInfo(
            network=self.model.network.config,
            input_height=data.input_height,
            data=data.description,
            terms='; '.join(filter(None, dict.fromkeys(terms))),
            recipe=recipe,
            revision=_revision(),
        )

    def _measure(self) -> dict[str, float]:
        """Validate the weights of the checkpoint, which are rounded to bfloat16."""
        with torch.no_grad():
            for parameter in self.model.network.parameters():
                parameter.copy_(parameter.bfloat16())
        metrics = self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        if not any(metrics):
            return {}
        frames = len(self.datamodule.val_dataloader().dataset)
        batches = self.trainer.num_val_batches[0] * self.trainer.world_size
        figures = {name.removeprefix('val/'): value for name, value in metrics[0].items()}
        return {'frames': min(frames, batches), **figures}

    def _resolved(self) -> dict[str, Any]:
        """Return the configuration without the paths of this machine."""
        values = yaml.safe_load(self.parser.dump(self.config, skip_none=True))[self.subcommand]
        recipe = {key: values[key] for key in ('seed_everything', 'trainer', 'model', 'data')}
        for section, key in LOCAL:
            recipe[section].pop(key, None)
        for section, key in (('model', 'pretrained'), ('data', 'root')):
            if key in recipe[section]:
                recipe[section][key] = _names(recipe[section][key])
        return recipe


def _names(paths: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the last part of a path, or enough parts to distinguish the keys of a mapping."""
    if not isinstance(paths, dict):
        return Path(paths).name
    names: dict[str, Any] = {}
    count = 0
    while len(names) < len(paths):
        count += 1
        names = {'/'.join(Path(path).parts[-count:]): value for path, value in paths.items()}
    return names


def _revision() -> str:
    """Return the git revision of the source checkout; empty for an installed package."""
    source = Path(__file__).parents[2]
    if not (source / '.git').exists():
        return ''  # a repository around an installed package is not the source
    command = ['git', 'describe', '--always', '--dirty']
    try:
        return subprocess.check_output(  # noqa: S603
            command, cwd=source, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return ''
