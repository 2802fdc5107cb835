# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: ``.safetensors`` files of weights, with a description as metadata."""

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
"""Metadata entry ``format``; the number changes when older packages cannot read the file."""


class CheckpointError(ValueError):
    """A file is not a checkpoint that this package can use; the message has path and reason."""


@dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a checkpoint.

    Attributes:
        network: Configuration of the network.
        input_height: Rows of the images that the network was trained on.
        data: Training data.
        terms: Terms of use that follow from the terms of the data.
        metrics: Metrics of this file by dataset, with the keys of ``metrics.json``.
        recipe: Training configuration and number of steps; the recipe of the checkpoint that
            training began with, if any, as ``initial``.
        revision: Git revision of the package at training.
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

    The running statistics of batch norm stay float32: they are few, and rounding harms variances.

    Raises:
        OSError: The file cannot be written.
    """
    parameters = dict(network.named_parameters())
    tensors = {
        name: (value.to(torch.bfloat16) if name in parameters else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    write_file(path, save(tensors, metadata_of(info)))


def record_metrics(path: Path, dataset: str, metrics: dict[str, Any]) -> None:
    """Add ``metrics`` of the checkpoint at ``path`` to its metadata.

    Raises:
        OSError, CheckpointError: The file cannot be written; see also ``load_checkpoint``.
    """
    info, tensors = _read(path, weights=True)
    info = replace(info, metrics={**info.metrics, dataset: metrics})
    write_file(path, save(tensors, metadata_of(info)))


def read_info(path: Path) -> CheckpointInfo:
    """Return the metadata of the checkpoint at ``path``; raise as ``load_checkpoint`` does."""
    return _read(path, weights=False)[0]


def load_checkpoint(path: Path) -> tuple[MultiTaskNetwork, CheckpointInfo]:
    """Return a network in evaluation mode, on the CPU, in float32, and its metadata.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file is damaged, or not a checkpoint of this package.
    """
    info, tensors = _read(path, weights=True)
    try:
        network = MultiTaskNetwork(info.network)
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as err:
        msg = f'{path}: weights and metadata do not match: {" ".join(str(err).split())}'
        raise CheckpointError(msg) from err
    return network.eval(), info


def metadata_of(info: CheckpointInfo) -> dict[str, str]:
    """Return ``info`` as metadata entries of a file: text unchanged, everything else as JSON."""
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
        msg = f'{path}: not a safetensors file, or truncated ({err})'
        raise CheckpointError(msg) from err
    found = metadata.get('format', 'none')
    if found != FORMAT:
        msg = (
            f'{path}: not a checkpoint of this package: the format in its metadata is {found!r}, '
            f'expected {FORMAT!r}; "mtl train" writes such files'
        )
        raise CheckpointError(msg)
    if (labels := metadata.get('labels')) != str(NUM_LABELS):
        msg = f'{path}: has {labels} labels, expected the {NUM_LABELS} of Cityscapes'
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
        msg = f'{path}: incomplete or invalid metadata ({type(err).__name__}: {err})'
        raise CheckpointError(msg) from err
    return info, tensors
