"""Just enough of protobuf's encoding (https://protobuf.dev/programming-guides/encoding/) for the messages of a stream."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import DataLossError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Writer:
    """Collects fields; defaults are left out, as proto3 does."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def number(self, field: int, value: int) -> Writer:
        """An int32, int64, uint32, uint64, enum or bool."""
        return self.present_number(field, value) if value else self

    def present_number(self, field: int, value: int) -> Writer:
        """An optional field that is there, even when it is 0."""
        self._varint(field << 3 | VARINT)
        self._varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return self

    def data(self, field: int, value: bytes | str) -> Writer:
        return self.element(field, value) if value else self

    def element(self, field: int, value: bytes | str) -> Writer:
        """An element of a repeated field, or a message, even when it is empty."""
        encoded = value.encode() if isinstance(value, str) else value
        self._varint(field << 3 | BYTES)
        self._varint(len(encoded))
        self._parts += encoded
        return self

    def finish(self) -> bytes:
        return bytes(self._parts)

    def _varint(self, value: int) -> None:
        while value > 0x7F:
            self._parts.append(value & 0x7F | 0x80)
            value >>= 7
        self._parts.append(value)


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """
    The fields of a message in the order they come: numbers as unsigned integers, the rest as views.

    :raises DataLossError: for bytes that are no message.
    """
    at = 0
    end = len(message)
    while at < end:
        key, at = varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield field, value
        elif kind == BYTES:
            length, at = varint(message, at)
            if at + length > end:
                raise _broken()
            yield field, message[at : at + length]
            at += length
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
            if at + size > end:
                raise _broken()
            yield field, int.from_bytes(message[at : at + size], "little")
            at += size
        else:
            raise _broken()


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    try:
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise _broken()
    except IndexError:
        raise _broken() from None


def numbers(value: int | memoryview) -> list[int]:
    """A repeated number, packed or not."""
    if isinstance(value, int):
        return [value]
    found = []
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        found.append(number)
    return found


def _broken() -> DataLossError:
    return DataLossError("The gateway sent a message that cannot be read.")
