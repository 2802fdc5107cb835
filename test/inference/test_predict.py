# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np

from mtl_perception.frame import Camera, Frame
from mtl_perception.inference.predict import predict_images, unused_name
from mtl_perception.inference.predictor import Predictor


def test_images_of_one_name_get_files_of_their_own(tiny_checkpoint, tmp_path):
    image = np.full((48, 64, 3), 90, np.uint8)
    predictor = Predictor(tiny_checkpoint, device='cpu')
    frames = [Frame('a', image), Frame('a', image)]
    predicted = predict_images(predictor, frames, tmp_path, raw=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.png', 'a_2.png']
    assert cv2.imread(str(tmp_path / 'a.png')).shape[1] == 5 * 480 + 4 * 4
    assert len(predicted.seconds) == 2
    assert min(predicted.seconds) > 0


def test_a_camera_or_a_focal_length_ends_the_assumption(tiny_checkpoint, tmp_path):
    image = np.full((48, 64, 3), 90, np.uint8)
    predictor = Predictor(tiny_checkpoint, device='cpu')
    unknown, known = Frame('a', image), Frame('b', image, camera=Camera(60, 60, 31.5, 23.5))
    assumed = [
        predict_images(predictor, frames, tmp_path, focal_length=pixels, raw=False).is_assumed
        for frames, pixels in (([known], None), ([known, unknown], None), ([unknown], 60.0))
    ]
    assert assumed == [False, True, False]


def test_a_name_is_never_used_twice():
    names = []
    for name in ('a', 'a_2', 'a', 'a'):
        names.append(unused_name(name, names))
    assert names == ['a', 'a_2', 'a_3', 'a_4']
