# SPDX-License-Identifier: Apache-2.0
"""Write the overlay of a video: video.py drive.mp4 overlay.mp4."""

import argparse
import sys

import cv2

from mtl_perception import Predictor

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('video')
parser.add_argument('overlay')
parser.add_argument('--checkpoint', default='street', help='file, or street or synthetic')
parser.add_argument('--focal-length', type=float, help='vertical focal length in pixels')
args = parser.parse_args()

capture = cv2.VideoCapture(args.video)
if not capture.isOpened():
    sys.exit(f'{args.video}: cannot be opened as a video')
size = [int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
codec, fps = cv2.VideoWriter_fourcc(*'mp4v'), capture.get(cv2.CAP_PROP_FPS)
writer = cv2.VideoWriter(args.overlay, codec, fps, size)
predictor = Predictor(args.checkpoint)
while (frame := capture.read()[1]) is not None:
    image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    overlay = predictor.predict(image, args.focal_length).overlay(image)
    writer.write(cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
writer.release()
