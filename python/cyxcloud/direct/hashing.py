"""BLAKE3, from the package `blake3`, which only streaming without a companion needs."""

from __future__ import annotations

from typing import Protocol, Union

from ..errors import FailedPreconditionError

Buffer = Union[bytes, bytearray, memoryview]


class Blake3(Protocol):
    """What verification asks of a BLAKE3 implementation. All results have 32 bytes."""

    def hash(self, data: Buffer) -> bytes: ...

    def derive_key(self, context: str, data: Buffer) -> bytes: ...

    def hash_of_all(self, parts: list[memoryview]) -> bytes:
        """Of the parts one after the other."""
        ...


class _PackagedBlake3:
    def __init__(self) -> None:
        from blake3 import blake3

        self._blake3 = blake3

    def hash(self, data: Buffer) -> bytes:
        return bytes(self._blake3(data).digest())

    def derive_key(self, context: str, data: Buffer) -> bytes:
        return bytes(self._blake3(data, derive_key_context=context).digest())

    def hash_of_all(self, parts: list[memoryview]) -> bytes:
        hasher = self._blake3()
        for part in parts:
            hasher.update(part)
        return bytes(hasher.digest())


def blake3_for(verify: bool) -> Blake3 | None:
    """
    The implementation, or None where the caller wants nothing verified.

    :raises FailedPreconditionError: where verifying is asked for, and the package is missing.
    """
    if not verify:
        return None
    try:
        return _PackagedBlake3()
    except ImportError:
        raise FailedPreconditionError(
            "Streaming from a gateway without a companion is verified here, and that needs the package blake3: "
            "pip install blake3. Or pass verify=False to accept whatever the gateway sends.",
            {"package": "blake3"},
        ) from None
