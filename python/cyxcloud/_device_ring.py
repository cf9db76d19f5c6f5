"""Slots in device memory of this process.

``DeviceRing`` has the surface of ``_ring.Ring``. Its memory is allocated here, one allocation a slot, so live tensors
stay valid whatever happens to the companion:

* ``cuda-ipc``: the allocations are exported, and the companion copies into them before it announces a batch.
* ``cuda-hostreg``: the mapped ring is registered with this process's driver, and ``receive`` copies from there.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from ._cuda import UNIT, Context, CudaError, Event, Memory, Stream, driver
from ._ring import Fence, Ring, byte_length

_HOST_REGISTER_PORTABLE = 1
_DEFAULT_STREAM = 1


class _Registration:
    """Host memory that the driver keeps in place. Holds the mapping: it must not go away under the driver."""

    def __init__(self, context: Context, ring: Ring) -> None:
        self.context = context
        self.address = ring.address
        self._memory = ring.memory
        with context as cuda:
            size = ring.slots * ring.slot_bytes
            cuda.call("cuMemHostRegister_v2", ring.address, size, _HOST_REGISTER_PORTABLE)
        self._registered = True

    def __del__(self) -> None:
        if getattr(self, "_registered", False):
            self.context.quietly("cuMemHostUnregister", self.address)


class _DeviceFence(Fence):
    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def done(self) -> bool:
        return all(event.done() for event in self._events)

    def wait(self) -> None:
        for event in self._events:
            event.wait()


class _Slot:
    """Device memory of a slot, and who works with it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.arrived: Optional[Event] = None
        self.streams: Set[int] = set()
        self.events: Dict[int, Event] = {}


class DeviceArray:
    """Typed memory of a device slot, row-major, that torch takes without a copy by ``tensors.as_tensor``.

    The stream that is told to ``use_on`` waits for the copy that fills the slot; nothing blocks the caller.
    """

    __slots__ = ("dtype", "shape", "nbytes", "owner", "_slot", "_offset", "__weakref__")

    def __init__(self, slot: _Slot, offset: int, dtype: str, shape: Sequence[int], owner: Any) -> None:
        self.dtype = dtype
        self.shape: Tuple[int, ...] = tuple(shape)
        self.nbytes = byte_length(dtype, shape)
        self.owner = owner
        self._slot = slot
        self._offset = offset

    @property
    def address(self) -> int:
        """Of the first element, in the device's memory. Call ``use_on`` before reading there."""
        return self._slot.memory.address + self._offset

    @property
    def device(self) -> int:
        return self._slot.memory.context.device

    def use_on(self, stream: Optional[int]) -> None:
        """Lets a stream wait for the data, and ``retire`` for the stream.

        -1 names none: then this thread waits for the data, and ``retire`` must be told the streams.
        """
        slot = self._slot
        if stream == -1:
            if slot.arrived is not None:
                slot.arrived.wait()
            return
        handle = stream or _DEFAULT_STREAM
        slot.streams.add(handle)
        if slot.arrived is not None:
            with slot.memory.context as cuda:
                cuda.call("cuStreamWaitEvent", handle, slot.arrived.handle, 0)

    def tobytes(self) -> bytes:
        """A copy in host memory, after the data arrived."""
        target = ctypes.create_string_buffer(self.nbytes or 1)
        if self.nbytes:
            slot = self._slot
            stream = Stream(slot.memory.context)
            with slot.memory.context as cuda:
                if slot.arrived is not None:
                    cuda.call("cuStreamWaitEvent", stream.handle, slot.arrived.handle, 0)
                source = slot.memory.address + self._offset
                cuda.call("cuMemcpyDtoHAsync_v2", target, source, self.nbytes, stream.handle)
                cuda.call("cuStreamSynchronize", stream.handle)
        return target.raw[: self.nbytes]


class DeviceRing(Ring):
    """Slots on a device, beside the mapped ring that they are filled from.

    ``backend`` is "cuda-ipc" or "cuda-hostreg", as in "opened"; ``ordinal`` as in ``detect_device``. Takes over
    ``ring``: close this one alone. Raises CudaError; nothing is left then but ``ring``, which may still be used.
    """

    def __init__(self, ring: Ring, backend: str, ordinal: Optional[int] = None) -> None:
        if backend not in ("cuda-ipc", "cuda-hostreg"):
            raise ValueError(f"{backend} is no backend with device memory.")
        if ring.slot_bytes % UNIT:
            raise ValueError(f"Slots on a device have multiples of {UNIT} bytes, not {ring.slot_bytes}.")
        super().__init__(ring.memory, ring.address, ring.slots, ring.slot_bytes)
        context = Context(driver().device(ordinal))
        self._context: Optional[Context] = context
        self.device = context.device
        self._slots = [_Slot(Memory(context, ring.slot_bytes)) for _ in range(ring.slots)]
        self._stream: Optional[Stream] = None
        self._registration: Optional[_Registration] = None
        self.pinned = True
        """Whether copies run at full speed. The driver may refuse to register the ring; they work then all the same."""
        if backend == "cuda-ipc":
            self.handles = tuple(slot.memory.handle() for slot in self._slots)
            return
        self._stream = Stream(context)
        for slot in self._slots:
            slot.arrived = Event(context)
        try:
            self._registration = _Registration(context, ring)
        except CudaError:
            self.pinned = False

    def receive(self, slot: int, length: int) -> None:
        start = self._locate(slot, 0, length)
        target = self._slots[slot]
        target.streams.clear()
        if self._stream is None or target.arrived is None:
            return
        with target.memory.context as cuda:
            cuda.call("cuMemcpyHtoDAsync_v2", target.memory.address, self.address + start, length, self._stream.handle)
            cuda.call("cuEventRecord", target.arrived.handle, self._stream.handle)

    def array(self, slot: int, offset: int, dtype: str, shape: Sequence[int], owner: Any = None) -> DeviceArray:
        self._locate(slot, offset, byte_length(dtype, shape))
        return DeviceArray(self._slots[slot], offset, dtype, shape, owner)

    def retire(self, slot: int, streams: Sequence[int] = ()) -> Fence:
        self._locate(slot, 0, 0)
        retired = self._slots[slot]
        events: List[Event] = []
        if retired.arrived is not None:
            # The companion must not fill the host slot again while our own copy still reads it.
            events.append(retired.arrived)
        for user in retired.streams | {stream or _DEFAULT_STREAM for stream in streams}:
            event = retired.events.get(user)
            if event is None:
                event = retired.events[user] = Event(retired.memory.context)
            event.record(user)
            events.append(event)
        return _DeviceFence(events)

    def close(self) -> None:
        """As ``Ring.close``. Waits for this ring's own copies. Device memory goes with the last tensor that uses it."""
        if self._closed:
            return
        if self._stream is not None and not self._stream.context.forked:
            with self._stream.context as cuda:
                cuda.call("cuStreamSynchronize", self._stream.handle)
        super().close()
        # In the reverse order of their making; each destructor gives back what is its own.
        self._registration = None
        self._stream = None
        self._slots = []
        self._context = None
