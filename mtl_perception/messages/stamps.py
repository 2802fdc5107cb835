"""Stamps of messages in nanoseconds."""

import struct
from typing import TYPE_CHECKING

from mtl_perception.messages import MessageError

if TYPE_CHECKING:
    from std_msgs.msg import Header


SECOND = 1_000_000_000
"""Nanoseconds."""


def nanoseconds(header: 'Header') -> int:
    """Return the header's stamp."""
    return header.stamp.sec * SECOND + header.stamp.nanosec


def format_stamp(nanoseconds: int) -> str:
    """Return a stamp in seconds, with all nine decimals."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f'{seconds}.{rest:09d}'


def header_stamp(data: bytes) -> int:
    """Return the stamp, in nanoseconds, of a serialized message that begins with a header.

    CDR has four bytes of its own, the second of which says whether numbers are little endian; the
    stamp's seconds and nanoseconds follow.

    Raises:
        MessageError: it is shorter than a stamp.
    """
    if len(data) < 12:
        text = f'{len(data)} bytes are too few for a header'
        raise MessageError(text)
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * SECOND + nanoseconds
