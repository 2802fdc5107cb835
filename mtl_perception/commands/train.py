# SPDX-License-Identifier: Apache-2.0
"""Train a checkpoint with Lightning: mtl train fit --config FILE.

The configuration file defines data, network and schedule; options override its values.

Examples:
  mtl train fit --config config/train_synthetic.yaml --data.root out/synthetic
  mtl train fit --config config/train_cityscapes.yaml --data.root /data/cityscapes
  mtl train fit --config config/train_synthetic.yaml --trainer.max_steps 1000

Resume an interrupted training, print the resulting configuration, list all options:
  mtl train fit --config config/train_synthetic.yaml --ckpt_path out/train_synthetic/last.ckpt
  mtl train fit --config config/train_cityscapes.yaml --print_config
  mtl train fit --help
"""


def main(arguments: list[str]) -> int:
    """Pass ``arguments`` to LightningCLI; return the exit status."""
    if not arguments or arguments[0] in ('-h', '--help'):
        print(__doc__)
        return 0 if arguments else 2
    from mtl_perception.training.cli import run

    run(arguments)
    return 0
