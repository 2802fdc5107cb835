# SPDX-License-Identifier: Apache-2.0
import struct

import pytest

from mtl_perception.bags.messages import header, serialize
from mtl_perception.messages import MessageError
from mtl_perception.messages.stamps import SECOND, header_stamp, nanoseconds

STAMP = 7 * SECOND + 89


def test_nanoseconds_are_those_of_the_stamp() -> None:
    assert nanoseconds(header(STAMP, 'optical')) == STAMP


def test_the_stamp_of_a_serialized_message_needs_no_type() -> None:
    assert header_stamp(serialize(header(STAMP, 'optical'))) == STAMP


@pytest.mark.parametrize(('kind', 'order'), [(0, '>'), (1, '<')])
def test_the_stamp_is_read_in_the_byte_order_of_the_message(kind: int, order: str) -> None:
    assert header_stamp(bytes([0, kind, 0, 0]) + struct.pack(f'{order}iI', 7, 89)) == STAMP


def test_a_message_shorter_than_a_stamp_is_refused() -> None:
    with pytest.raises(MessageError, match='11 bytes are too few for a header'):
        header_stamp(bytes(11))
