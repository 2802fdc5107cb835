"""Convert a checkpoint to ONNX, or to OpenVINO's .xml and .bin.

The file contains the float32 network for one input size, from pixels to maps. Its input "image" is
(1, H, W, 3) uint8 RGB. Its outputs at half that size are "labels" and "confidence" (uint8),
"offsets" and "disparity" (float32). Its metadata hold the names of the labels and the metadata of
the checkpoint. It is written only if OpenVINO computes the result of PyTorch from it.

Resize images to the height that the checkpoint was trained for (256) and to the width that keeps
the aspect ratio, rounded to a multiple of 32: 640x480 to 352x256.

For TensorRT, continue with the ONNX file on the computer that will run it (with --fp16 before
TensorRT 10 and on GPUs older than Ampere):

  trtexec --onnx=out/export/street-256x352.onnx --bf16 --saveEngine=street-256x352.engine

Examples:
  mtl export --format onnx --size 256x352
  mtl export --format openvino --checkpoint out/train/model.safetensors --output models
"""

import argparse

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mtl export``."""
    parser.add_argument(
        '--format',
        choices=('onnx', 'openvino'),
        required=True,
        help='format of the file',
    )
    options.add_checkpoint_file(parser)
    options.add_output(parser, 'out/export')
    options.add_network_size(parser)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl export``."""
    from mtl_perception.inference.export import export
    from mtl_perception.network.checkpoint import read_info

    path = export(args.checkpoint, args.output, args.format, args.size)
    print(f'written to {path}, equal to PyTorch in float32')
    info = read_info(args.checkpoint)
    print('; '.join(filter(None, (info.data and f'trained on {info.data}', info.terms))))
    return 0
