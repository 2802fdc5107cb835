# SPDX-License-Identifier: Apache-2.0
"""Fine-tune on frames in the Cityscapes layout: train.py frames/ tuned.safetensors --steps 1000."""

import argparse
from dataclasses import replace
from pathlib import Path

from lightning.pytorch import Trainer

from mtl_perception.network.checkpoint import read_info, save_checkpoint
from mtl_perception.resources import checkpoint_path
from mtl_perception.training.data import StreetData
from mtl_perception.training.module import MultiTaskModule

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('frames', type=Path)
parser.add_argument('output', type=Path)
parser.add_argument('--initial', type=checkpoint_path, default='street', help='initial weights')
parser.add_argument('--steps', type=int, default=1000)
args = parser.parse_args()

info = read_info(args.initial)
height = info.input_height
data = StreetData(args.frames, height, crop=(height, height), batch_size=4, workers=2)
module = MultiTaskModule(info.network, initial=args.initial, optimizer='adamw', learning_rate=1e-4)
trainer = Trainer(max_steps=args.steps, logger=False, enable_checkpointing=False)
trainer.fit(module, data)
trainer.validate(module, data)
info = replace(info, data=f'{info.data}; {data.description}', metrics={}, recipe={})
save_checkpoint(args.output, module.network, info)
