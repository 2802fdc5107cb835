# SPDX-License-Identifier: Apache-2.0
"""Table of the 34 Cityscapes labels.

Source: Cordts et al., *The Cityscapes Dataset for Semantic Urban Scene Understanding*, CVPR 2016.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Label(NamedTuple):
    """Row of the table; ``color`` is RGB, ``evaluated`` labels count in the benchmark."""

    id: int
    name: str
    category: str
    color: tuple[int, int, int]
    has_instances: bool = False
    evaluated: bool = False


LABELS = (
    Label(0, 'unlabeled', 'void', (0, 0, 0)),
    Label(1, 'ego vehicle', 'void', (0, 0, 0)),
    Label(2, 'rectification border', 'void', (0, 0, 0)),
    Label(3, 'out of roi', 'void', (0, 0, 0)),
    Label(4, 'static', 'void', (0, 0, 0)),
    Label(5, 'dynamic', 'void', (111, 74, 0)),
    Label(6, 'ground', 'void', (81, 0, 81)),
    Label(7, 'road', 'flat', (128, 64, 128), evaluated=True),
    Label(8, 'sidewalk', 'flat', (244, 35, 232), evaluated=True),
    Label(9, 'parking', 'flat', (250, 170, 160)),
    Label(10, 'rail track', 'flat', (230, 150, 140)),
    Label(11, 'building', 'construction', (70, 70, 70), evaluated=True),
    Label(12, 'wall', 'construction', (102, 102, 156), evaluated=True),
    Label(13, 'fence', 'construction', (190, 153, 153), evaluated=True),
    Label(14, 'guard rail', 'construction', (180, 165, 180)),
    Label(15, 'bridge', 'construction', (150, 100, 100)),
    Label(16, 'tunnel', 'construction', (150, 120, 90)),
    Label(17, 'pole', 'object', (153, 153, 153), evaluated=True),
    Label(18, 'polegroup', 'object', (153, 153, 153)),
    Label(19, 'traffic light', 'object', (250, 170, 30), evaluated=True),
    Label(20, 'traffic sign', 'object', (220, 220, 0), evaluated=True),
    Label(21, 'vegetation', 'nature', (107, 142, 35), evaluated=True),
    Label(22, 'terrain', 'nature', (152, 251, 152), evaluated=True),
    Label(23, 'sky', 'sky', (70, 130, 180), evaluated=True),
    Label(24, 'person', 'human', (220, 20, 60), has_instances=True, evaluated=True),
    Label(25, 'rider', 'human', (255, 0, 0), has_instances=True, evaluated=True),
    Label(26, 'car', 'vehicle', (0, 0, 142), has_instances=True, evaluated=True),
    Label(27, 'truck', 'vehicle', (0, 0, 70), has_instances=True, evaluated=True),
    Label(28, 'bus', 'vehicle', (0, 60, 100), has_instances=True, evaluated=True),
    Label(29, 'caravan', 'vehicle', (0, 0, 90), has_instances=True),
    Label(30, 'trailer', 'vehicle', (0, 0, 110), has_instances=True),
    Label(31, 'train', 'vehicle', (0, 80, 100), has_instances=True, evaluated=True),
    Label(32, 'motorcycle', 'vehicle', (0, 0, 230), has_instances=True, evaluated=True),
    Label(33, 'bicycle', 'vehicle', (119, 11, 32), has_instances=True, evaluated=True),
)

NUM_LABELS = len(LABELS)
EVALUATED_IDS = tuple(label.id for label in LABELS if label.evaluated)
THING_IDS = tuple(label.id for label in LABELS if label.evaluated and label.has_instances)

_IDS = {label.name: label.id for label in LABELS}


def ids(*names: str) -> tuple[int, ...]:
    """Return the IDs of the labels with these names, in the order of the names.

    Raises:
        KeyError: A name is not in the table; the error names it.
    """
    return tuple(_IDS[name] for name in names)


(SKY_ID,) = ids('sky')

COLORS = np.array([label.color for label in LABELS], np.uint8)
"""``(34, 3)`` RGB palette, indexed by label ID."""

GROUPS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    'camvid': {
        'sky': ids('sky'),
        'building, wall': ids('building', 'wall'),
        'pole': ids('pole'),
        'road': ids('road'),
        'sidewalk': ids('sidewalk'),
        'vegetation, terrain': ids('vegetation', 'terrain'),
        'sign, light': ids('traffic light', 'traffic sign'),
        'fence': ids('fence'),
        'motor vehicles': ids('car', 'truck', 'bus', 'train'),
        'person': ids('person'),
        'rider, two-wheelers': ids('rider', 'motorcycle', 'bicycle'),
    },
    'idd': {
        'sky': ids('sky'),
        'road': ids('road'),
        'vehicles': ids('car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
        'person, rider': ids('person', 'rider'),
    },
}
"""Classes of datasets with coarser labels, each as a set of evaluated labels.

``camvid``: the 11 classes of CamVid as used by SegNet (Badrinarayanan, Kendall, Cipolla, PAMI
2017). ``idd``: the classes of IDD Lite that are sets of Cityscapes labels.
"""

INSTANCE_ID_BASE = 1000
"""Instance IDs are ``label · INSTANCE_ID_BASE + k``; smaller IDs are labels or group regions."""


def lookup_table(label_ids: tuple[int, ...]) -> np.ndarray:
    """Return a ``(256,)`` bool table to index with a label map, true at ``label_ids``."""
    table = np.zeros(256, bool)
    table[list(label_ids)] = True
    return table


IS_EVALUATED = lookup_table(EVALUATED_IDS)
IS_THING = lookup_table(THING_IDS)
