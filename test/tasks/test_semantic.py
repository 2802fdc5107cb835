# SPDX-License-Identifier: Apache-2.0
"""The semantic task: targets, the loss by hand, and decoded maps."""

import math

import numpy as np
import torch

from mtl_perception.labels import EVALUATED_IDS
from mtl_perception.tasks import semantic


def test_cross_entropy_counts_labelled_pixels_only():
    logits = torch.zeros(1, 34, 1, 3)
    logits[0, 7, 0, 0] = math.log(33)  # probability of road: 33 / (33 + 33) = ½
    target = torch.tensor([[[7, 23, semantic.IGNORE]]], dtype=torch.uint8)
    loss = semantic.loss(logits, target)
    assert loss.count == 2
    torch.testing.assert_close(loss.total, torch.tensor(math.log(2) + math.log(34)))


def test_a_pixel_of_a_weighted_label_counts_as_several():
    logits = torch.zeros(1, 34, 1, 3)
    logits[0, 7, 0, 0] = math.log(33)
    target = torch.tensor([[[7, 23, semantic.IGNORE]]], dtype=torch.uint8)
    loss = semantic.loss(logits, target, semantic.label_weights({'sky': 3.0}))
    assert loss.count == 1 + 3
    torch.testing.assert_close(loss.total, torch.tensor(math.log(2) + 3 * math.log(34)))


def test_void_labels_become_ignore():
    labels = np.array([[0, 3, 7, 9, 23, 29, 33]], np.uint8)
    ignore = semantic.IGNORE
    assert semantic.target(labels).tolist() == [[ignore, ignore, 7, ignore, 23, ignore, 33]]


def test_within_a_group_only_the_sum_of_the_probabilities_counts():
    person, rider = 24, 25
    target = torch.from_numpy(semantic.target(np.array([[[person, rider, 7]]], np.uint8), 'idd'))
    assert target[0, 0, 0] == target[0, 0, 1] >= 34
    assert target[0, 0, 2] == 7

    def loss_of(*probabilities):
        rest = (1 - sum(probabilities)) / 32
        logits = torch.full((1, 34, 1, 3), math.log(rest))
        logits[0, [person, rider]] = torch.tensor(probabilities).log()[:, None, None]
        return semantic.loss(logits, target)

    loss = loss_of(0.2, 0.3)
    assert loss.count == 3
    expected = torch.tensor(2 * math.log(2) + math.log(64))
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss_of(0.45, 0.05).total, expected)


def test_a_group_weighs_as_much_as_the_least_of_its_labels():
    target = torch.from_numpy(semantic.target(np.array([[[24, 7]]], np.uint8), 'idd'))
    weights = semantic.label_weights({'person': 3.0, 'rider': 5.0})
    loss = semantic.loss(torch.zeros(1, 34, 1, 2), target, weights)
    assert loss.count == 3 + 1
    torch.testing.assert_close(loss.total, torch.tensor(3 * math.log(17) + math.log(34)))


def test_a_frame_without_a_label_has_no_loss_and_no_count():
    loss = semantic.loss(torch.rand(1, 34, 2, 2), torch.full((1, 2, 2), semantic.IGNORE))
    assert loss.count == 0
    assert loss.total == 0


def test_only_evaluated_labels_are_decoded():
    logits = torch.zeros(1, 34, 1, 2)
    logits[0, 4] = 9.0  # static is not evaluated
    logits[0, 26, 0, 0], logits[0, 11, 0, 1] = 1.0, 2.0
    assert semantic.decode(logits).labels.tolist() == [[[26, 11]]]


def test_confidence_is_the_probability_among_evaluated_labels():
    torch.manual_seed(0)
    logits = torch.randn(2, 34, 3, 4)
    maps = semantic.decode(logits)
    probabilities = logits[:, list(EVALUATED_IDS)].softmax(1).amax(1)
    torch.testing.assert_close(
        maps.confidence.float() / 255, probabilities, atol=0.5 / 255 + 1e-6, rtol=0
    )
    assert maps.labels.dtype == maps.confidence.dtype == torch.uint8
