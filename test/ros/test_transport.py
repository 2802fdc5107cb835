# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtl_perception.ros.transport import loss_hint, transport_environment


def test_transports_for_large_images_are_chosen_where_the_user_chose_none() -> None:
    environment = transport_environment({'HOME': '/root'})
    assert list(environment) == ['FASTDDS_DEFAULT_PROFILES_FILE']
    assert 'segment_size' in Path(environment['FASTDDS_DEFAULT_PROFILES_FILE']).read_text()


def test_distributions_before_kilted_get_the_name_that_they_know() -> None:
    assert list(transport_environment({'ROS_DISTRO': 'humble'})) == [
        'FASTRTPS_DEFAULT_PROFILES_FILE'
    ]


@pytest.mark.parametrize(
    'name',
    [
        'FASTDDS_DEFAULT_PROFILES_FILE',
        'FASTRTPS_DEFAULT_PROFILES_FILE',
        'FASTDDS_BUILTIN_TRANSPORTS',
    ],
)
def test_what_the_user_chose_stays(name: str) -> None:
    assert transport_environment({name: 'x'}) == {}


def test_humble_that_is_confined_to_this_host_stays_so() -> None:
    assert transport_environment({'ROS_DISTRO': 'humble', 'ROS_LOCALHOST_ONLY': '1'}) == {}
    assert transport_environment({'ROS_DISTRO': 'jazzy', 'ROS_LOCALHOST_ONLY': '1'})


def test_hint_names_shared_memory_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('shutil.disk_usage', lambda _folder: SimpleNamespace(total=2**26))
    assert 'is too small' in loss_hint({}, 'rmw_fastrtps_cpp')


def test_hint_names_what_to_set_and_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('shutil.disk_usage', lambda _folder: SimpleNamespace(total=2**34))
    assert 'set FASTDDS_DEFAULT_PROFILES_FILE=' in loss_hint({}, 'rmw_fastrtps_cpp')
    ours = loss_hint(transport_environment({}), 'rmw_fastrtps_cpp')
    assert "fastdds.xml for the camera's process" in ours
    chosen = {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}
    assert 'FASTDDS_BUILTIN_TRANSPORTS=UDPv4 may be' in loss_hint(chosen, 'rmw_fastrtps_cpp')
    assert 'raise net.core.rmem_max' in loss_hint({}, 'rmw_cyclonedds_cpp')
