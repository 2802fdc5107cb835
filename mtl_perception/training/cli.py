"""``mtl train``: LightningCLI over the module and its data, which ends with a checkpoint to use."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from mtl_perception.network.checkpoint import CheckpointInfo, save_checkpoint
from mtl_perception.training.module import MultiTaskModule, StreetData

CHECKPOINT_NAME = 'model.safetensors'

LOCAL = (
    ('trainer', 'default_root_dir'),
    ('trainer', 'logger'),
    ('trainer', 'callbacks'),
    ('model', 'pretrained'),
    ('model', 'initial'),
    ('data', 'root'),
)
"""Values that say where things lie, not how to train; they stay out of the checkpoint."""


def run(arguments: list[str]) -> None:
    """Run LightningCLI with ``arguments``, ``fit --config …`` for example.

    Raises:
        ValueError, FileNotFoundError: a value or a file of the configuration cannot be used.
    """
    # Given as ``args``, LightningCLI would warn that the command line has arguments too.
    sys.argv[:] = ['mtl train', *arguments]
    TrainingCLI(
        MultiTaskModule,
        StreetData,
        seed_everything_default=0,
        save_config_kwargs={'overwrite': True},
    )


class TrainingCLI(LightningCLI):
    """Writes a ``.safetensors`` checkpoint when training has ended."""

    def after_fit(self) -> None:
        """Write the trained network, what it was trained on and how, beside Lightning's files."""
        if not self.trainer.is_global_zero:
            return
        path = Path(self.trainer.default_root_dir) / CHECKPOINT_NAME
        data = self.datamodule
        info = CheckpointInfo(
            network=self.model.network.config,
            input_height=data.input_height,
            data=data.description or str(data.root.name),
            terms=data.terms,
            recipe={'steps': self.trainer.global_step, 'config': self._resolved()},
            revision=_revision(),
        )
        save_checkpoint(path, self.model.network, info)
        rank_zero_info(f'{path}: written; measure it with "mtl evaluate --checkpoint {path}"')

    def _resolved(self) -> dict[str, Any]:
        """Return the configuration without the paths of this machine."""
        values = yaml.safe_load(self.parser.dump(self.config, skip_none=True))[self.subcommand]
        for section, key in LOCAL:
            values.get(section, {}).pop(key, None)
        return {
            key: values[key]
            for key in ('seed_everything', 'trainer', 'model', 'data')
            if key in values
        }


def _revision() -> str:
    """Return the git revision of the source checkout, or nothing where there is none."""
    try:
        result = subprocess.run(
            ['git', 'describe', '--always', '--dirty'],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ''
    return result.stdout.strip()
