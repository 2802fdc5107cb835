"""``mtl train``: LightningCLI over the module and its data, which ends with a checkpoint to use."""

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
"""Values that say where things lie, not how to train; they stay out of the checkpoint."""

FIT_USAGE = 'mtl train fit --config FILE [--SECTION.OPTION VALUE ...]'


def run(arguments: list[str]) -> None:
    """Run LightningCLI with ``arguments``, ``fit --config …`` for example.

    Raises:
        ValueError, FileNotFoundError: a value or a file of the configuration cannot be used.
        TrainingError: the GPU's memory is too small, or Lightning refuses a value.
        OSError: a checkpoint cannot be written.
    """
    try:
        training_cli(arguments)
    except torch.cuda.OutOfMemoryError as err:
        msg = (
            'the GPU has not enough memory: lower data.batch_size, and raise '
            'trainer.accumulate_grad_batches by as much, or lower data.crop'
        )
        raise TrainingError(msg) from err
    except MisconfigurationException as err:
        raise TrainingError(str(err)) from err


def training_cli(arguments: list[str], *, runs: bool = True) -> 'TrainingCLI':
    """Return trainer, model and data as ``arguments`` want them, after the command in these.

    With ``runs=False`` there is no command among the arguments, and nothing is run.

    Raises:
        ValueError, FileNotFoundError, OSError: as ``run``.
    """
    reuse_freed_memory()  # on a CPU, a step with new pages for every activation takes 7 % longer
    # ``sys.argv`` says more and must stay: Lightning starts the processes of other GPUs with it.
    warnings.filterwarnings('ignore', "LightningCLI's args parameter")
    # StreetData knows where to continue, in a way that Lightning does not look for.
    warnings.filterwarnings('ignore', '.*your dataloader is not resumable')
    # Frozen batch norm is meant to be in evaluation.
    warnings.filterwarnings('ignore', '.*in eval mode at the start of training')
    return TrainingCLI(
        MultiTaskModule,
        StreetData,
        args=arguments,
        run=runs,
        # Each subcommand's own would be a hundred lines of options before the error.
        parser_kwargs={'prog': 'mtl train', 'fit': {'usage': FIT_USAGE}},
        seed_everything_default=0,
        trainer_defaults={
            'default_root_dir': 'out/train',
            'callbacks': [ValidationPictures(), CurvesPicture(), KillSiblingsOnFailure()],
        },
        save_config_callback=ResolvedConfig,
        save_config_kwargs={'save_to_log_dir': False},
        auto_configure_optimizers=False,  # the module has its own
    )


def _started_processes() -> int:
    """Return how many processes torchrun, Lightning or SLURM started for this training."""
    if 'WORLD_SIZE' in os.environ:
        return int(os.environ['WORLD_SIZE'])
    return int(os.environ['SLURM_NTASKS']) if SLURMEnvironment.detect() else 1


class TrainingCLI(LightningCLI):
    """Keeps everything of a run in ``trainer.default_root_dir`` and ends with a checkpoint."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--checkpoint``: how often the file to resume from, ``last.ckpt``, is written."""
        parser.add_lightning_class_args(ResumableCheckpoint, 'checkpoint')
        parser.set_defaults(
            {
                'checkpoint.every_n_train_steps': 1000,
                'checkpoint.save_last': True,
                'checkpoint.save_top_k': 0,
                'checkpoint.enable_version_counter': False,  # last.ckpt is always the last
            }
        )
        parser.link_arguments('trainer.default_root_dir', 'checkpoint.dirpath')
        parser.link_arguments('seed_everything', 'data.seed', compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse ``args``, and see that there is something to resume from if they say so.

        Raises:
            CheckpointError: the file to resume from is damaged.
        """
        super().parse_arguments(parser, args)
        if subcommand := self.config.get('subcommand'):
            _check_resumable(Path(self.config[subcommand].get('ckpt_path') or ''))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return the trainer, which writes files complete or not at all."""
        plugins = self._get(self.config_init, 'trainer.plugins') or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        return super().instantiate_trainer(plugins=[*plugins, AtomicCheckpointIO()], **kwargs)

    def before_fit(self) -> None:
        """Refuse what would go wrong later, and warn of a precision that is slow here.

        Raises:
            TrainingError: the folder holds a training that is not to be resumed, more processes
                were started than take part, or the precision is none that the network takes.
        """
        started, processes = _started_processes(), self.trainer.world_size
        if started not in (1, processes):
            msg = (
                f'{started} processes were started, but trainer.devices and trainer.num_nodes are '
                f'for {processes}, so each would train by itself: set --trainer.devices to the '
                'processes of a machine'
            )
            raise TrainingError(msg)
        precision = str(self.trainer.precision)
        if precision.endswith('-true') and precision != '32-true':
            msg = f'trainer.precision {precision}: choose 32-true, bf16-mixed or 16-mixed'
            raise TrainingError(msg)
        saved = Path(self.trainer.default_root_dir) / RESUME_FILE
        if saved.is_file() and not self.config[self.subcommand].get('ckpt_path'):
            msg = (
                f'{saved}: is of another training, which would be lost; go on from it with '
                f'--ckpt_path {saved}, or give this one a folder of its own with '
                '--trainer.default_root_dir'
            )
            raise TrainingError(msg)
        device = self.trainer.strategy.root_device
        if precision.startswith('bf16') and not multiplies_bfloat16(device):
            other = '16-mixed' if device.type == 'cuda' else '32-true'
            rank_zero_warn(
                f'this {device.type.upper()} has no instructions for bfloat16, which is slow then: '
                f'--trainer.precision {other}'
            )

    def after_fit(self) -> None:
        """Write the trained network with its validation figures, next to Lightning's files."""
        path = Path(self.trainer.default_root_dir) / CHECKPOINT_NAME
        self._save(path)
        figures = self._measure()
        if skipped := self.datamodule.skipped:
            print(
                f'skipped: {len(skipped)} damaged frames, drawn {skipped.total()} times; each is '
                'named above',
                flush=True,
            )
        if figures and self.trainer.is_global_zero:
            record_metrics(path, 'val', figures)
        rank_zero_info(f'{path}: written{self._advice(path)}')

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
        terms = [data.terms]
        if origin:
            recipe['initial'] = {'data': origin['data'], **origin['recipe']}
            terms.append(origin['terms'])  # they still hold
        return CheckpointInfo(
            network=self.model.network.config,
            input_height=data.input_height,
            data=data.description,
            terms='; '.join(filter(None, dict.fromkeys(terms))),
            recipe=recipe,
            revision=_revision(),
        )

    def _measure(self) -> dict[str, float]:
        """Validate the weights as the checkpoint holds them: rounded to bfloat16."""
        with torch.no_grad():
            for parameter in self.model.network.parameters():
                parameter.copy_(parameter.bfloat16())
        metrics = self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        if not any(metrics):
            return {}
        batches = self.trainer.num_val_batches[0] * self.trainer.world_size
        figures = {name.removeprefix('val/'): value for name, value in metrics[0].items()}
        return {'frames': min(self.datamodule.validation_size, batches), **figures}

    def _advice(self, path: Path) -> str:
        if 'semantic' not in self.model.network.config.tasks:
            return ''
        root = next(iter(self.datamodule.roots))
        return f'; measure it with "mtl evaluate --data {root} --checkpoint {path}"'

    def _resolved(self) -> dict[str, Any]:
        """Return the configuration without the paths of this machine."""
        values = yaml.safe_load(self.parser.dump(self.config, skip_none=True))[self.subcommand]
        for section, key in LOCAL:
            values.get(section, {}).pop(key, None)
        for section, key in (('model', 'pretrained'), ('data', 'root')):
            if key in values.get(section, {}):
                values[section][key] = _names(values[section][key])
        return {
            key: values[key]
            for key in ('seed_everything', 'trainer', 'model', 'data')
            if key in values
        }


def _names(paths: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the last part of a path, or as many as tell the keys of a mapping apart."""
    if isinstance(paths, dict):
        parts = {path: Path(path).parts for path in paths}
        for count in range(1, max(map(len, parts.values())) + 1):
            names = {'/'.join(parts[path][-count:]): value for path, value in paths.items()}
            if len(names) == len(paths):
                break
        return names
    return Path(paths).name


def _check_resumable(path: Path) -> None:
    """Raise in one line what would be a traceback of many where Lightning reads the file."""
    if not path.is_file():
        return  # Lightning has words such as "last" too
    try:
        torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except (EOFError, LookupError, RuntimeError, pickle.UnpicklingError) as err:
        msg = (
            f'{path}: not a file that training can resume from, or a damaged one; leave out '
            '--ckpt_path to start anew'
        )
        raise CheckpointError(msg) from err


def _revision() -> str:
    """Return the git revision of the source checkout, or nothing where there is none."""
    source = Path(__file__).parents[2]
    if not (source / '.git').exists():
        return ''  # the repository around an installed package is another one
    try:
        result = subprocess.run(
            ['git', 'describe', '--always', '--dirty'],  # noqa: S607
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ''
    return result.stdout.strip()
