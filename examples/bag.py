# SPDX-License-Identifier: Apache-2.0
"""Write overlays and metrics of a rosbag2 bag, without ROS: bag.py drive/ overlays/ --limit 100."""

import argparse
from pathlib import Path

from mtl_perception import Predictor
from mtl_perception.bags.frames import BagFrames, Selection
from mtl_perception.bags.reader import BagReader
from mtl_perception.bags.topics import find_topics
from mtl_perception.evaluation.evaluate import Evaluation
from mtl_perception.evaluation.report import metrics_table
from mtl_perception.files import write_picture

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('bag', type=Path)
parser.add_argument('output', type=Path)
parser.add_argument('--checkpoint', default='street', help='file, or street or synthetic')
parser.add_argument('--limit', type=int, help='number of frames')
args = parser.parse_args()

predictor, evaluation = Predictor(args.checkpoint), Evaluation()
with BagReader(args.bag) as bag:
    for found in BagFrames(bag, find_topics(bag), Selection(limit=args.limit)):
        frame = found.frame  # image, ground truth and camera
        prediction = predictor.predict(frame.image, frame.focal_length)
        evaluation.add(frame, prediction)
        write_picture(args.output / f'{frame.name}.png', prediction.overlay(frame.image))
print(metrics_table(evaluation.compute()))
