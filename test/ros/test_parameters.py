# SPDX-License-Identifier: Apache-2.0
from typing import get_type_hints

from mtl_perception.inference.settings import GROUPING_PREFIX, SETTINGS
from mtl_perception.ros.parameters import Values
from mtl_perception.tasks.instance import GroupingParameters


def test_every_parameter_of_the_node_has_a_field_of_its_type():
    types = {
        setting.name: type(setting.default)
        for setting in SETTINGS
        if not setting.name.startswith(GROUPING_PREFIX)
    }
    assert get_type_hints(Values) == {**types, 'grouping': GroupingParameters}
