# SPDX-License-Identifier: Apache-2.0
"""Export a checkpoint for other programs, as ONNX or as OpenVINO's .xml and .bin.

The file holds the float32 network for one input size, including preprocessing and decoding: the
input "image" is (1, H, W, 3) uint8 RGB; the outputs, at half that size, are "labels" and
"confidence" (uint8), "offsets" and "disparity" (float32). The metadata holds the label names and
the checkpoint's own metadata. Before the file is written, OpenVINO runs it and the result is
compared with PyTorch.

Resize each image to the height that the checkpoint was trained for, 256, and to the width that
keeps its aspect ratio, rounded to a multiple of 32: for example, images of a camera of 640x480
(width x height) to 352x256, that is --size 256x352.

For TensorRT, convert the ONNX file on the target machine (use --fp16 before TensorRT 10 and on GPUs
older than Ampere):

  trtexec --onnx=out/export/street-256x352.onnx --bf16 --saveEngine=street-256x352.engine

Examples:
  mtl export --format onnx --size 256x352
  mtl export --format openvino --checkpoint out/train/model.safetensors --output models
"""

import argparse

from mtl_perception.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mtl export``."""
    parser.add_argument(
        '--format', choices=('onnx', 'openvino'), required=True, help='format of the file'
    )
    options.add_checkpoint_file(parser)
    options.add_output(parser, 'out/export')
    options.add_network_size(parser)


def main(args: argparse.Namespace) -> int:
    """Run ``mtl export``."""
    from mtl_perception.inference.export import export
    from mtl_perception.network.checkpoint import read_info

    path = export(args.checkpoint, args.output, args.format, args.size)
    print(f'written to {path}; it agrees with PyTorch in float32')
    info = read_info(args.checkpoint)
    print('; '.join(filter(None, (info.data and f'trained on {info.data}', info.terms))))
    return 0
