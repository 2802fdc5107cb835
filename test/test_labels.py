# SPDX-License-Identifier: Apache-2.0
import pytest

from mtl_perception.labels import LABELS, SKY_ID, ids


def test_ids_follow_the_order_of_the_names():
    assert ids('truck', 'car', 'ego vehicle') == (27, 26, 1)
    assert ids(*(label.name for label in LABELS)) == tuple(range(34))
    assert SKY_ID == 23


def test_a_name_that_is_not_in_the_table_is_named():
    with pytest.raises(KeyError, match='lorry'):
        ids('car', 'lorry')
