# SPDX-License-Identifier: Apache-2.0
"""Print the objects in a picture and write its overlay: picture.py street.jpg overlay.png."""

import argparse
import sys

import cv2

from mtl_perception import Predictor

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('picture')
parser.add_argument('overlay')
parser.add_argument('--checkpoint', default='street', help='file, or street or synthetic')
parser.add_argument('--focal-length', type=float, help='vertical focal length in pixels')
args = parser.parse_args()

picture = cv2.imread(args.picture)
if picture is None:
    sys.exit(f'{args.picture}: cannot be read as a picture')
image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
predictor = Predictor(args.checkpoint)
prediction = predictor.predict(image, args.focal_length).resized(*image.shape[:2])
for found in prediction.objects():
    distance = 'unknown' if found.depth is None else f'{found.depth:.1f} m'
    print(f'{found.name}: distance {distance}, score {found.score:.2f}, box {found.box}')
cv2.imwrite(args.overlay, cv2.cvtColor(prediction.overlay(image), cv2.COLOR_RGB2BGR))
