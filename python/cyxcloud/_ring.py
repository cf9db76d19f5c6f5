"""The ring of slots that a companion fills, as this process sees it.

The surface, the same for host and device::

    ring = Ring.map(path, size, slots, slot_bytes)      # of "opened"; then send "attached"
    ring = DeviceRing(ring, backend, device)            # cuda-ipc, cuda-hostreg; send ring.handles
    ring.receive(slot, length)                          # on every "batch", before anything is read from the slot
    data = ring.array(slot, offset, "float32", (32, 224, 224, 3), owner)   # where the ring is: host or device
    labels = ring.host_array(slot, offset, "int32", (32,), owner)          # always in host memory
    fence = ring.retire(slot)                           # the user let go of the batch
    fence.wait()                                        # or poll fence.done(); then send "release"
    ring.close()                                        # after the connection has ended

An array keeps ``owner`` alive, and so does every tensor that somebody made of it without a copy: when the owner goes,
nobody can see the slot any more. Arrays, and what was made of them, stay valid memory after ``close`` and after the
companion's death; only their content is then nobody's promise.

No call blocks but ``Fence.wait``. One thread at a time may use a ring; arrays may be used and dropped on any.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any, NamedTuple, Optional, Sequence, Tuple


class ElementType(NamedTuple):
    """How numpy's array interface and the buffer protocol name one element type of a batch."""

    kind: str
    """As in https://numpy.org/doc/stable/reference/arrays.interface.html; V where numpy has none."""
    size: int
    """Bytes."""
    format: str
    """As in the struct module; bfloat16, which has none, is seen as raw bits."""


ELEMENT_TYPES = {
    "bool": ElementType("b", 1, "?"),
    "uint8": ElementType("u", 1, "B"),
    "int8": ElementType("i", 1, "b"),
    "uint16": ElementType("u", 2, "H"),
    "int16": ElementType("i", 2, "h"),
    "uint32": ElementType("u", 4, "I"),
    "int32": ElementType("i", 4, "i"),
    "uint64": ElementType("u", 8, "Q"),
    "int64": ElementType("i", 8, "q"),
    "float16": ElementType("f", 2, "e"),
    "bfloat16": ElementType("V", 2, "H"),
    "float32": ElementType("f", 4, "f"),
    "float64": ElementType("f", 8, "d"),
}


class Fence:
    """Whether the work that reads a slot is over. On the host it always is: readers hold the slot by its owner."""

    def done(self) -> bool:
        """Without waiting."""
        return True

    def wait(self) -> None:
        """Blocks until ``done``, letting other threads run."""


class RingArray:
    """Typed memory of a slot, row-major, that others can take without a copy.

    ``numpy.asarray(array)`` does; so do ``array.memoryview()`` and, from Python 3.12 on, ``memoryview(array)``; torch by
    ``tensors.as_tensor``. Not by DLPack: its deleter would have to be a Python function, and whoever drops a tensor while an
    exception is on its way would lose that exception in it.
    """

    __slots__ = ("dtype", "shape", "nbytes", "owner", "_address", "_memory", "__weakref__")
    device: Optional[int] = None
    """Ordinal of the CUDA device that the memory is on; None for host memory."""

    def __init__(self, memory: Any, address: int, dtype: str, shape: Sequence[int], owner: Any = None) -> None:
        self.dtype = dtype
        self.shape: Tuple[int, ...] = tuple(shape)
        self.nbytes = byte_length(dtype, shape)
        self.owner = owner
        self._address = address
        self._memory = memory

    @property
    def __array_interface__(self) -> dict[str, Any]:
        # For numpy before 1.22, and for numpy.asarray.
        if self.dtype == "bfloat16":
            raise AttributeError("numpy has no bfloat16.")
        kind, size, _ = ELEMENT_TYPES[self.dtype]
        order = "|" if size == 1 else "<"
        return {
            "version": 3,
            "typestr": f"{order}{kind}{size}",
            "shape": self.shape,
            "data": (self._address, False),
        }

    def memoryview(self) -> memoryview:
        """The elements, shaped; float16 and bfloat16 as raw 16-bit words."""
        elements = (ctypes.c_uint8 * self.nbytes).from_address(self._address)
        elements.kept = (self._memory, self.owner)
        view = memoryview(elements).cast("B")
        if self.nbytes == 0:
            return view
        letter = ELEMENT_TYPES[self.dtype].format
        return view.cast("H" if letter == "e" else letter, self.shape)  # type: ignore[call-overload,no-any-return]

    def __buffer__(self, flags: int) -> memoryview:
        # Whoever asks for a buffer takes its format at its word; numpy then asks for __array_interface__.
        if self.dtype in ("float16", "bfloat16"):
            raise BufferError(f"A buffer cannot say {self.dtype}: use memoryview() for raw words.")
        return self.memoryview()

    def tobytes(self) -> bytes:
        """A copy."""
        return ctypes.string_at(self._address, self.nbytes)


class Ring:
    """A ring in host memory; see the module for the order of calls."""

    handles: Tuple[str, ...] = ()
    """Base64 of what the companion must open, one a slot; empty where it opens nothing."""
    device: Optional[int] = None
    """Ordinal of the CUDA device that the slots are on; None for host memory."""

    def __init__(self, memory: Any, address: int, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self.address = address
        self.memory = memory
        self._closed = False

    @classmethod
    def map(cls, path: str, size: int, slots: int, slot_bytes: int) -> "Ring":
        """Maps a companion's ring file. Its name may go away afterwards.

        Raises ValueError where the numbers do not fit each other or the file: touching memory behind the end of a
        file would end the process. Raises OSError where it cannot be opened: the companion runs on another machine,
        as another user, or in another container that shares no /dev/shm.
        """
        if slots < 1 or slot_bytes < 1 or size != slots * slot_bytes:
            raise ValueError(f"A ring of {slots} slots of {slot_bytes} bytes is not {size} bytes.")
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
        try:
            status = os.fstat(descriptor)
            if status.st_size < size:
                raise ValueError(f"{path} has {status.st_size} bytes, not {size}.")
            mapped = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        # Holds the mapping; it is given back when the ring and the last array are gone.
        memory = (ctypes.c_uint8 * size).from_buffer(mapped)
        return cls(memory, ctypes.addressof(memory), slots, slot_bytes)

    def receive(self, slot: int, length: int) -> None:
        """A batch of ``length`` bytes was announced in ``slot``."""
        self._locate(slot, 0, length)

    def array(self, slot: int, offset: int, dtype: str, shape: Sequence[int], owner: Any = None) -> Any:
        """Memory of a slot where the ring is. Raises ValueError for what is not inside the slot."""
        return self.host_array(slot, offset, dtype, shape, owner)

    def host_array(self, slot: int, offset: int, dtype: str, shape: Sequence[int], owner: Any = None) -> RingArray:
        """As ``array``, in host memory."""
        address = self.address + self._locate(slot, offset, byte_length(dtype, shape))
        return RingArray(self.memory, address, dtype, shape, owner)

    def slot(self, slot: int) -> memoryview:
        """All bytes of a slot."""
        start = self._locate(slot, 0, self.slot_bytes)
        return memoryview(self.memory).cast("B")[start : start + self.slot_bytes]

    def retire(self, slot: int, streams: Sequence[int] = ()) -> Fence:
        """The user let go of a slot: the fence tells when the companion may have it back.

        ``streams`` are handles of CUDA streams that use it beside those that took an array of it.
        """
        return Fence()

    def close(self) -> None:
        """Idempotent. Gives the memory back as soon as no array uses it."""
        self._closed = True
        self.memory = None

    def _locate(self, slot: int, offset: int, length: int) -> int:
        if self._closed:
            raise ValueError("The ring is closed.")
        if not 0 <= slot < self.slots:
            raise ValueError(f"There is no slot {slot}: the ring has {self.slots}.")
        if offset < 0 or length < 0 or offset + length > self.slot_bytes:
            raise ValueError(f"{length} bytes at {offset} are not inside a slot of {self.slot_bytes} bytes.")
        return slot * self.slot_bytes + offset


def byte_length(dtype: str, shape: Sequence[int]) -> int:
    """Raises ValueError for a type that batches do not have, or a negative dimension."""
    element = ELEMENT_TYPES.get(dtype)
    if element is None:
        raise ValueError(f"{dtype} is no element type of a batch.")
    length = element.size
    for dimension in shape:
        if dimension < 0:
            raise ValueError(f"A dimension of {dimension} is negative.")
        length *= dimension
    return length
