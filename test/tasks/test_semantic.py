"""Decoding of semantic logits."""

import torch

from mtl_perception.labels import EVALUATED_IDS
from mtl_perception.tasks import semantic


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
