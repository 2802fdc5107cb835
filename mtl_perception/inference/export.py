# SPDX-License-Identifier: Apache-2.0
"""Export of a checkpoint for other programs, as ONNX or in OpenVINO's own format."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from mtl_perception.files import make_folder
from mtl_perception.inference.runtimes import INPUT, to_openvino
from mtl_perception.labels import LABELS
from mtl_perception.network.checkpoint import load_checkpoint, metadata_of
from mtl_perception.network.fused import FusedNetwork
from mtl_perception.network.multitask import checked_size

ONNX_OPSET = 17
"""Version of 2022; TensorRT 8.6 and everything newer reads it."""

METADATA_PREFIX = 'mtl_perception'
"""Prefix of the metadata entries' names."""

OUTPUTS = {
    'labels': 'labels (IDs)',
    'confidence': 'confidence (255 is certain)',
    'offsets': "offsets (dx, dy) to the object's centre in pixels of the output",
    'disparity': 'disparity in pixels of the output',
}
"""Description of each map in the metadata."""

TOLERANCES = {'labels': 0.0, 'confidence': 1.0, 'offsets': 0.01, 'disparity': 0.01}
"""Largest difference from PyTorch for each map: label IDs, confidence of 255, pixels."""

AGREEING = 0.999
"""Share of pixels that must be within the tolerance; arg max may flip on ties."""


class ExportError(ValueError):
    """The exported network does not compute the same maps as the checkpoint."""


def export(checkpoint: Path, output: Path, kind: str, size: tuple[int, int] | None = None) -> Path:
    """Write the float32 network of ``checkpoint``, including preprocessing and decoding.

    The input is ``image``, ``(1, H, W, 3)`` uint8 RGB; normalisation is inside. The outputs are the
    maps of ``FusedNetwork.forward``, under the same names. The metadata are the checkpoint's, and
    the label names. The file appears only after OpenVINO has run it in agreement with PyTorch.

    Args:
        checkpoint: ``.safetensors`` file of this package.
        output: Folder; it is created if it does not exist.
        kind: Key in ``FORMATS``.
        size: (height, width) of the input, see ``checked_size``.

    Returns:
        The file, named after the checkpoint and the size.

    Raises:
        ValueError: The size cannot be used; see also ``load_checkpoint``.
        ExportError: The maps differ from PyTorch's.
        OSError: A file cannot be read or written.
    """
    network, info = load_checkpoint(checkpoint)
    fused = FusedNetwork(network)
    height, width = checked_size(size, info.input_height)
    metadata = metadata_of(info) | {
        'label_names': json.dumps([label.name for label in LABELS]),
        'input': 'image: (1, H, W, 3) uint8 RGB; normalisation is inside',
        'outputs': 'at half the size: ' + ', '.join(OUTPUTS[name] for name in fused.outputs),
    }
    image = _test_image(height, width)
    write, suffix = FORMATS[kind]
    make_folder(output)
    path = output / f'{checkpoint.stem}-{height}x{width}{suffix}'
    with tempfile.TemporaryDirectory(dir=output, prefix='.') as folder:
        write(fused, Path(folder, path.name), image, metadata)
        _verify(Path(folder, path.name), fused, image)
        # In alphabetical order: the .bin appears before the .xml that needs it.
        for file in sorted(Path(folder).iterdir()):
            file.replace(output / file.name)
    return path


def _verify(path: Path, network: FusedNetwork, image: np.ndarray) -> None:
    import openvino

    settings = {'INFERENCE_PRECISION_HINT': 'f32'}
    results = openvino.Core().compile_model(path, 'CPU', settings)([image])
    with torch.inference_mode():
        expected = network(torch.from_numpy(image))
    for name, reference in zip(network.outputs, expected, strict=True):
        difference = np.abs(results[name].astype(np.float32) - reference.float().numpy())
        worst = float(np.quantile(difference, AGREEING))
        if not worst <= TOLERANCES[name]:
            msg = (
                f'{path.name}: not written: the map {name} differs from PyTorch by {worst:.3g}, '
                f'more than the tolerance of {TOLERANCES[name]:g}'
            )
            raise ExportError(msg)


def _write_onnx(
    network: FusedNetwork, path: Path, image: np.ndarray, metadata: Mapping[str, str]
) -> None:
    import onnx

    with warnings.catch_warnings():
        # The older of PyTorch's exporters needs no further package and is faster.
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.from_numpy(image),),
            path,
            input_names=[INPUT],
            output_names=network.outputs,
            opset_version=ONNX_OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    for name, value in metadata.items():
        model.metadata_props.add(key=f'{METADATA_PREFIX}.{name}', value=value)
    onnx.save(model, path)


def _write_openvino(
    network: FusedNetwork, path: Path, image: np.ndarray, metadata: Mapping[str, str]
) -> None:
    import openvino

    model = to_openvino(network)
    model.reshape(image.shape)
    for name, value in metadata.items():
        model.set_rt_info(value, [METADATA_PREFIX, name])
    openvino.serialize(model, path, path.with_suffix('.bin'))


FORMATS = {'onnx': (_write_onnx, '.onnx'), 'openvino': (_write_openvino, '.xml')}
"""Writer and file suffix of each format."""


def _test_image(height: int, width: int) -> np.ndarray:
    """Return ``(1, height, width, 3)`` uint8 patches of random colours in two sizes."""
    rng = np.random.default_rng(0)
    small, large = (
        rng.integers(0, 128, (-(-height // n), -(-width // n), 3), np.uint8)
        .repeat(n, 0)
        .repeat(n, 1)[:height, :width]
        for n in (4, 32)
    )
    return (small + large)[None]
