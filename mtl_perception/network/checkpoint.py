"""Checkpoints: one ``.safetensors`` file with the weights and, as metadata, what they are."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mtl_perception.files import write_file
from mtl_perception.labels import NUM_LABELS
from mtl_perception.network.multitask import SIZE_MULTIPLE, MultiTaskNetwork, NetworkConfig
from mtl_perception.resources import EMBEDDED_CHECKPOINTS

FORMAT = 'mtl_perception/1'
"""The first metadata entry; the number changes when older packages could not read the file."""


class CheckpointError(ValueError):
    """A file is not a checkpoint that this package can use; the message names it and says why."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself, besides its weights.

    Attributes:
        network: what to build to hold the weights.
        input_height: rows of the image that the network was trained to see.
        data: what it was trained on.
        terms: what the data's terms mean for who uses the weights.
        metrics: figures of this very file, as ``metrics.json`` has them, by dataset.
        recipe: how to train it again: the configuration, the number of steps and, where it began
            as another checkpoint, the recipe of that one as ``initial``.
        revision: the git revision of the package that trained it.
    """

    network: NetworkConfig
    input_height: int = 256
    data: str = ''
    terms: str = ''
    metrics: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    revision: str = ''

    def __post_init__(self) -> None:
        if self.input_height < SIZE_MULTIPLE or self.input_height % SIZE_MULTIPLE:
            msg = f'input_height must be a multiple of {SIZE_MULTIPLE}, got {self.input_height}'
            raise ValueError(msg)


def save_checkpoint(path: Path, network: MultiTaskNetwork, info: CheckpointInfo) -> None:
    """Write the weights in bfloat16, and ``info``; the file appears complete or not at all.

    Batch norm's running statistics stay float32: they are few, and variances suffer from rounding.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {
        name: (value if _keeps_precision(name) else value.to(torch.bfloat16)).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    _write(path, tensors, info)


def record_metrics(path: Path, dataset: str, metrics: dict[str, Any]) -> None:
    """Add ``metrics``, measured with the checkpoint at ``path``, to its metadata.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_checkpoint``.
        OSError: the file cannot be written.
    """
    info, tensors = _read(path, weights=True)
    _write(path, tensors, replace(info, metrics={**info.metrics, dataset: metrics}))


def read_info(path: Path) -> CheckpointInfo:
    """Return what the checkpoint at ``path`` says of itself, without reading its weights.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is not a checkpoint of this package, or one of a newer format.
    """
    return _read(path, weights=False)[0]


def load_checkpoint(path: Path) -> tuple[MultiTaskNetwork, CheckpointInfo]:
    """Return the network at ``path``, in evaluation mode, on the CPU, in float32, and what it is.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged, or not a checkpoint of this package.
    """
    info, tensors = _read(path, weights=True)
    try:
        network = MultiTaskNetwork(info.network)
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as err:
        msg = f'{path}: weights and metadata do not fit together: {" ".join(str(err).split())}'
        raise CheckpointError(msg) from err
    return network.eval(), info


def metadata_of(info: CheckpointInfo) -> dict[str, str]:
    """Return ``info`` as a file's metadata: text as it is, everything else as JSON."""
    entries = {'format': FORMAT, 'labels': NUM_LABELS, **asdict(info)}
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in entries.items()
    }


def _read(path: Path, *, weights: bool) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    if not path.is_file():
        embedded = ' and '.join(EMBEDDED_CHECKPOINTS)
        msg = f'{path.absolute()}: no such checkpoint; the embedded ones are {embedded}'
        raise FileNotFoundError(msg)
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if weights else {}  # noqa: SIM118
    except SafetensorError as err:
        msg = f'{path}: not a safetensors file, or a truncated one ({err})'
        raise CheckpointError(msg) from err
    found = metadata.get('format', 'none')
    if found != FORMAT:
        msg = (
            f'{path}: not a checkpoint of this package: its metadata names the format {found!r}, '
            f'expected {FORMAT!r}; "mtl train" writes such files'
        )
        raise CheckpointError(msg)
    if metadata.get('labels') != str(NUM_LABELS):
        msg = (
            f'{path}: has {metadata.get("labels")} labels, expected the {NUM_LABELS} of Cityscapes'
        )
        raise CheckpointError(msg)
    try:
        info = CheckpointInfo(
            network=NetworkConfig(**json.loads(metadata['network'])),
            input_height=int(metadata['input_height']),
            data=metadata['data'],
            terms=metadata['terms'],
            metrics=json.loads(metadata['metrics']),
            recipe=json.loads(metadata['recipe']),
            revision=metadata['revision'],
        )
    except (KeyError, TypeError, ValueError) as err:
        msg = f'{path}: metadata incomplete or wrong ({type(err).__name__}: {err})'
        raise CheckpointError(msg) from err
    return info, tensors


def _write(path: Path, tensors: dict[str, torch.Tensor], info: CheckpointInfo) -> None:
    write_file(path, save(tensors, metadata_of(info)))


def _keeps_precision(name: str) -> bool:
    return 'running_' in name or name.endswith('num_batches_tracked')
