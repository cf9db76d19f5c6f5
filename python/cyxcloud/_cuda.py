"""Slots in device memory of this process, through the CUDA driver and ctypes alone.

``DeviceRing`` has the surface of ``_ring.Ring``. Its memory is allocated here, one allocation a slot, so live tensors
stay valid whatever happens to the companion:

* ``cuda-ipc``: the allocations are exported, and the companion copies into them before it announces a batch.
* ``cuda-hostreg``: the mapped ring is registered with this process's driver, and ``receive`` copies from there.

Everything runs in the device's primary context, which is the one that torch, CuPy and JAX use; it is pushed for each
call and popped after it, so the caller's current context stays what it was. Nothing here may be used in a fork of the
process that made it: CUDA does not survive a fork; arrays and rings notice and leave the driver alone.
"""

from __future__ import annotations

import base64
import ctypes
import os
import threading
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from . import _dlpack
from ._ring import Fence, Ring, byte_length, copied_capsule

_UNIT = 2 * 1024 * 1024
_HOST_REGISTER_PORTABLE = 1
_STREAM_NON_BLOCKING = 1
_EVENT_BLOCKING_SYNC_NO_TIMING = 3
_NOT_READY = 600
_DEFAULT_STREAM = 1

_p = ctypes.c_void_p
_u64 = ctypes.c_uint64
_SIGNATURES: Dict[str, List[Any]] = {
    "cuInit": [ctypes.c_uint],
    "cuDeviceGet": [_p, ctypes.c_int],
    "cuDeviceGetCount": [_p],
    "cuDeviceGetUuid_v2": [_p, ctypes.c_int],
    "cuCtxGetDevice": [_p],
    "cuDevicePrimaryCtxRetain": [_p, ctypes.c_int],
    "cuDevicePrimaryCtxRelease_v2": [ctypes.c_int],
    "cuCtxPushCurrent_v2": [_p],
    "cuCtxPopCurrent_v2": [_p],
    "cuCtxSynchronize": [],
    "cuMemAlloc_v2": [_p, ctypes.c_size_t],
    "cuMemFree_v2": [_u64],
    "cuMemHostRegister_v2": [_p, ctypes.c_size_t, ctypes.c_uint],
    "cuMemHostUnregister": [_p],
    "cuMemcpyHtoDAsync_v2": [_u64, _p, ctypes.c_size_t, _p],
    "cuMemcpyDtoHAsync_v2": [_p, _u64, ctypes.c_size_t, _p],
    "cuIpcGetMemHandle": [_p, _u64],
    "cuStreamCreate": [_p, ctypes.c_uint],
    "cuStreamDestroy_v2": [_p],
    "cuStreamSynchronize": [_p],
    "cuStreamWaitEvent": [_p, _p, ctypes.c_uint],
    "cuEventCreate": [_p, ctypes.c_uint],
    "cuEventDestroy_v2": [_p],
    "cuEventRecord": [_p, _p],
    "cuEventQuery": [_p],
    "cuEventSynchronize": [_p],
}


class CudaError(RuntimeError):
    """What the driver answered; ``name`` is its own, such as CUDA_ERROR_OUT_OF_MEMORY."""

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call}: {name}")
        self.code = code
        self.name = name


class Driver:
    """The driver's calls; each raises CudaError. ``driver()`` gives the one of this process."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._functions: Dict[str, Any] = {}
        for name, parameters in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes = parameters
            function.restype = ctypes.c_int
            self._functions[name] = function
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        code = self._functions[name](*arguments)
        if code:
            raise CudaError(name, code, self.name_of(code))

    def answers(self, name: str, *arguments: Any) -> int:
        """As ``call`` for what is asked: the code itself, 0 or not ready."""
        code: int = self._functions[name](*arguments)
        if code not in (0, _NOT_READY):
            raise CudaError(name, code, self.name_of(code))
        return code

    def name_of(self, code: int) -> str:
        name = ctypes.c_char_p()
        self._library.cuGetErrorName(code, ctypes.byref(name))
        return name.value.decode() if name.value else f"CUDA error {code}"

    def device(self, ordinal: Optional[int]) -> int:
        """The device of an ordinal; without one, of the caller's current context, else the first."""
        device = ctypes.c_int()
        if ordinal is None:
            if self._functions["cuCtxGetDevice"](ctypes.byref(device)) == 0:
                return device.value
            ordinal = 0
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        return device.value

    def uuid(self, device: int) -> str:
        raw = (ctypes.c_uint8 * 16)()
        self.call("cuDeviceGetUuid_v2", raw, device)
        text = bytes(raw).hex()
        return "GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


_lock = threading.Lock()
_driver: Optional[Driver] = None


def driver() -> Driver:
    """Raises OSError where there is no driver, AttributeError where it is too old, CudaError where it does not start."""
    global _driver
    with _lock:
        if _driver is None:
            _driver = Driver(os.environ.get("CYXCLOUD_LIBCUDA") or "libcuda.so.1")
        return _driver


class _Context:
    """The primary context of a device, retained as long as this lives. ``with`` makes it current."""

    def __init__(self, device: int) -> None:
        self.driver = driver()
        self.device = device
        self._pid = os.getpid()
        handle = ctypes.c_void_p()
        self.driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), device)
        self._handle: Any = handle

    @property
    def forked(self) -> bool:
        return os.getpid() != self._pid

    def __enter__(self) -> Driver:
        if self.forked:
            raise RuntimeError("Batches on a device cannot be used in a fork of their process: start it by spawn.")
        self.driver.call("cuCtxPushCurrent_v2", self._handle)
        return self.driver

    def __exit__(self, *_: object) -> None:
        self.driver.call("cuCtxPopCurrent_v2", None)

    def quietly(self, name: str, *arguments: Any) -> None:
        """For destructors: at the end of the process the driver, or Python's own modules, may be gone before us."""
        try:
            if not self.forked:
                with self:
                    self.driver.call(name, *arguments)
        except Exception:
            pass

    def __del__(self) -> None:
        try:
            if self._handle and not self.forked:
                self.driver.call("cuDevicePrimaryCtxRelease_v2", self.device)
        except Exception:
            pass


class _Memory:
    """One device allocation, freed when the ring and the last tensor let go."""

    def __init__(self, context: _Context, length: int) -> None:
        self.context = context
        address = ctypes.c_uint64()
        with context as cuda:
            cuda.call("cuMemAlloc_v2", ctypes.byref(address), length)
        self.address = address.value

    def handle(self) -> str:
        exported = (ctypes.c_uint8 * 64)()
        with self.context as cuda:
            cuda.call("cuIpcGetMemHandle", exported, self.address)
        return base64.b64encode(bytes(exported)).decode()

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.context.quietly("cuMemFree_v2", self.address)


class _Stream:
    def __init__(self, context: _Context) -> None:
        self.context = context
        self.handle = ctypes.c_void_p()
        with context as cuda:
            cuda.call("cuStreamCreate", ctypes.byref(self.handle), _STREAM_NON_BLOCKING)

    def __del__(self) -> None:
        if self.handle:
            self.context.quietly("cuStreamDestroy_v2", self.handle)


class _Event:
    def __init__(self, context: _Context) -> None:
        self.context = context
        self.handle = ctypes.c_void_p()
        with context as cuda:
            cuda.call("cuEventCreate", ctypes.byref(self.handle), _EVENT_BLOCKING_SYNC_NO_TIMING)

    def record(self, stream: Any) -> None:
        with self.context as cuda:
            cuda.call("cuEventRecord", self.handle, stream)

    def done(self) -> bool:
        with self.context as cuda:
            return cuda.answers("cuEventQuery", self.handle) == 0

    def wait(self) -> None:
        with self.context as cuda:
            cuda.call("cuEventSynchronize", self.handle)

    def __del__(self) -> None:
        if self.handle:
            self.context.quietly("cuEventDestroy_v2", self.handle)


class _Registration:
    """Host memory that the driver keeps in place. Holds the mapping: it must not go away under the driver."""

    def __init__(self, context: _Context, ring: Ring) -> None:
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
    def __init__(self, events: Sequence[_Event]) -> None:
        self._events = events

    def done(self) -> bool:
        return all(event.done() for event in self._events)

    def wait(self) -> None:
        for event in self._events:
            event.wait()


class _Slot:
    """Device memory of a slot, and who works with it."""

    def __init__(self, memory: _Memory) -> None:
        self.memory = memory
        self.arrived: Optional[_Event] = None
        self.streams: Set[int] = set()
        self.events: Dict[int, _Event] = {}


class DeviceArray:
    """Typed memory of a device slot, row-major: ``torch.from_dlpack(array)``, ``cupy.from_dlpack(array)``.

    The consumer's stream waits for the copy that fills the slot; nothing blocks the caller. ``tobytes`` and
    ``numpy.from_dlpack(array, device="cpu")`` copy to the host.
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

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (_dlpack.CUDA, self._slot.memory.context.device)

    def __dlpack__(
        self,
        *,
        stream: Optional[int] = None,
        max_version: Optional[Tuple[int, int]] = None,
        dl_device: Optional[Tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        """``stream`` as in the array API: None and 1 the default stream, 2 that of the thread, -1 none."""
        if dl_device is not None and tuple(dl_device) == (_dlpack.CPU, 0):
            if copy is False:
                raise BufferError("This batch is on a device: the host can only have a copy.")
            return copied_capsule(self.tobytes(), self.dtype, self.shape, max_version)
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError("This batch is on another device and is not copied by DLPack.")
        if copy:
            raise BufferError("This batch is not copied by DLPack: take it as it is and copy that.")
        self.use_on(stream)
        keep = (self._slot.memory, self.owner)
        return _dlpack.capsule(
            self.address,
            self.dtype,
            self.shape,
            self.__dlpack_device__(),
            keep,
            max_version,
        )

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
            stream = _Stream(slot.memory.context)
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
        if ring.slot_bytes % _UNIT:
            raise ValueError(f"Slots on a device have multiples of {_UNIT} bytes, not {ring.slot_bytes}.")
        super().__init__(ring.memory, ring.address, ring.slots, ring.slot_bytes)
        context = _Context(driver().device(ordinal))
        self._context: Optional[_Context] = context
        self.device = context.device
        self._slots = [_Slot(_Memory(context, ring.slot_bytes)) for _ in range(ring.slots)]
        self._stream: Optional[_Stream] = None
        self._registration: Optional[_Registration] = None
        self.pinned = True
        """Whether copies run at full speed. The driver may refuse to register the ring; they work then all the same."""
        if backend == "cuda-ipc":
            self.handles = tuple(slot.memory.handle() for slot in self._slots)
            return
        self._stream = _Stream(context)
        for slot in self._slots:
            slot.arrived = _Event(context)
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
            cuda.call(
                "cuMemcpyHtoDAsync_v2", target.memory.address, self.address + start, length, self._stream.handle
            )
            cuda.call("cuEventRecord", target.arrived.handle, self._stream.handle)

    def array(self, slot: int, offset: int, dtype: str, shape: Sequence[int], owner: Any = None) -> DeviceArray:
        self._locate(slot, offset, byte_length(dtype, shape))
        return DeviceArray(self._slots[slot], offset, dtype, shape, owner)

    def retire(self, slot: int, streams: Sequence[int] = ()) -> Fence:
        self._locate(slot, 0, 0)
        retired = self._slots[slot]
        events: List[_Event] = []
        if retired.arrived is not None:
            # The companion must not fill the host slot again while our own copy still reads it.
            events.append(retired.arrived)
        for user in retired.streams | {stream or _DEFAULT_STREAM for stream in streams}:
            event = retired.events.get(user)
            if event is None:
                event = retired.events[user] = _Event(retired.memory.context)
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


def detect_device(ordinal: Optional[int] = None) -> Optional[Dict[str, Any]]:
    """The ``device`` of "open": ``{"uuid", "pid", "ipc", "probe"}``; None where there is no driver or no device.

    Without an ordinal: the device of the caller's current context (so of torch's current device once torch used it),
    else the first. Makes the device's primary context, some hundred MiB of its memory, unless something has. The
    allocation behind ``probe`` lives until the next call or ``forget_probe()``: until "opened" arrived.
    """
    global _probe
    try:
        cuda = driver()
        device = cuda.device(ordinal)
        found: Dict[str, Any] = {"uuid": cuda.uuid(device), "pid": os.getpid(), "ipc": False}
        context = _Context(device)
    except (OSError, AttributeError, CudaError):
        return None
    try:
        _probe = _Memory(context, _UNIT)
        found["probe"] = _probe.handle()
        found["ipc"] = True
    except CudaError:
        _probe = None
    return found


_probe: Optional[_Memory] = None


def forget_probe() -> None:
    """Frees what ``detect_device`` allocated."""
    global _probe
    _probe = None
