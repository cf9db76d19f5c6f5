"""The CUDA driver through ctypes alone: its calls, and a device's context, memory, streams and events.

Everything runs in the device's primary context, which is the one that torch, CuPy and JAX use; it is pushed for each
call and popped after it, so the caller's current context stays what it was. Nothing here may be used in a fork of the
process that made it: CUDA does not survive a fork; what was made before notices and leaves the driver alone.
"""

from __future__ import annotations

import base64
import ctypes
import os
import threading
from typing import Any, Dict, List, Optional

UNIT = 2 * 1024 * 1024
"""Bytes; what an exported allocation has is a multiple."""
_STREAM_NON_BLOCKING = 1
_EVENT_BLOCKING_SYNC_NO_TIMING = 3
_NOT_READY = 600

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


class Context:
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


class Memory:
    """One device allocation, freed when the ring and the last tensor let go."""

    def __init__(self, context: Context, length: int) -> None:
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


class Stream:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.handle = ctypes.c_void_p()
        with context as cuda:
            cuda.call("cuStreamCreate", ctypes.byref(self.handle), _STREAM_NON_BLOCKING)

    def __del__(self) -> None:
        if self.handle:
            self.context.quietly("cuStreamDestroy_v2", self.handle)


class Event:
    def __init__(self, context: Context) -> None:
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
        context = Context(device)
    except (OSError, AttributeError, CudaError):
        return None
    try:
        _probe = Memory(context, UNIT)
        found["probe"] = _probe.handle()
        found["ipc"] = True
    except CudaError:
        _probe = None
    return found


_probe: Optional[Memory] = None


def forget_probe() -> None:
    """Frees what ``detect_device`` allocated."""
    global _probe
    _probe = None
