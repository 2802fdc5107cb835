# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages, in nanoseconds."""

import struct
from typing import Any

from mtl_perception.messages import MessageError

SECOND = 1_000_000_000
"""Nanoseconds per second."""


def nanoseconds(header: Any) -> int:
    """Return the stamp of a ``std_msgs/Header`` in nanoseconds (reads ``stamp``)."""
    return header.stamp.sec * SECOND + header.stamp.nanosec


def format_stamp(nanoseconds: int) -> str:
    """Return a stamp in seconds, with all nine decimals."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f'{seconds}.{rest:09d}'


def header_stamp(data: bytes) -> int:
    """Return the stamp, in nanoseconds, of a serialized message that begins with a header.

    CDR begins with four bytes of its own, the second of which states whether numbers are little
    endian. The seconds and nanoseconds of the stamp follow.

    Raises:
        MessageError: The data is shorter than a stamp.
    """
    if len(data) < 12:
        text = f'{len(data)} bytes are too few for a header'
        raise MessageError(text)
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return seconds * SECOND + nanoseconds
