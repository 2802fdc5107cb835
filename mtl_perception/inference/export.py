"""The network as a file that other programs run: ONNX, or OpenVINO's own format."""

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
"""Of 2022: TensorRT 8.6 and everything since reads it."""

METADATA_PREFIX = 'mtl_perception'
"""What the names of the metadata begin with."""

OUTPUTS = {
    'labels': 'labels (IDs)',
    'confidence': 'confidence (255 is certain)',
    'offsets': "offsets (dx, dy) to the object's centre in pixels of the output",
    'disparity': 'disparity in pixels of the output',
}
"""What the metadata say of each map."""

TOLERANCES = {'labels': 0.0, 'confidence': 1.0, 'offsets': 0.01, 'disparity': 0.01}
"""How far each map may be from PyTorch's: label IDs, confidence of 255, others in pixels."""

AGREEING = 0.999
"""The share of the pixels that must lie within the tolerance; arg max may flip on a tie."""


class ExportError(ValueError):
    """What was exported does not compute what the checkpoint does."""


def export(checkpoint: Path, output: Path, kind: str, size: tuple[int, int] | None = None) -> Path:
    """Write the float32 network of ``checkpoint``, with what decodes its output, to ``output``.

    Its one input is ``image``, ``(1, H, W, 3)`` uint8 RGB; normalisation is inside. Its outputs are
    those that ``FusedNetwork.forward`` describes, by these names. The metadata are those of the
    checkpoint, and the names of the labels. Before the file appears it is read and run by OpenVINO
    and compared with PyTorch.

    Args:
        checkpoint: a ``.safetensors`` file of this package.
        output: a folder.
        kind: one of ``FORMATS``.
        size: (height, width) of the input, multiples of 32; by default the checkpoint's height, and
            twice that.

    Returns:
        The file, named after the checkpoint and the size.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_checkpoint``.
        ValueError: the size cannot be used.
        ExportError: the results differ.
        OSError: the file cannot be written.
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
        verify(Path(folder, path.name), fused, image)
        # In alphabetical order OpenVINO's weights come first: who sees one file sees both.
        for file in sorted(Path(folder).iterdir()):
            file.replace(output / file.name)
    return path


def verify(path: Path, network: FusedNetwork, image: np.ndarray) -> None:
    """Run the exported file and ``network`` on the same ``(1, H, W, 3)`` image.

    Raises:
        ExportError: they differ.
    """
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
                f'{path.name}: not written, as its {name} differ from those of PyTorch by '
                f'{worst:.3g}; at most {TOLERANCES[name]:g} is allowed'
            )
            raise ExportError(msg)


def _write_onnx(
    network: FusedNetwork, path: Path, image: np.ndarray, metadata: Mapping[str, str]
) -> None:
    import onnx

    with warnings.catch_warnings():
        # It is older than PyTorch's other exporter, needs no further package, and is quicker.
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
"""What writes a file of each format, and its suffix."""


def _test_image(height: int, width: int) -> np.ndarray:
    """Return ``(1, height, width, 3)`` uint8 patches of random colours, of two sizes."""
    rng = np.random.default_rng(0)
    small, large = (
        rng.integers(0, 128, (-(-height // n), -(-width // n), 3), np.uint8)
        .repeat(n, 0)
        .repeat(n, 1)[:height, :width]
        for n in (4, 32)
    )
    return (small + large)[None]
