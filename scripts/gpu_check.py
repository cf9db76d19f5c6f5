"""The trainer's side of gpu-check.ts: JSON lines in, JSON lines out. Needs the standard library alone."""

import ctypes
import hashlib
import json
import sys
import time

from cyxcloud._cuda import Context, Event, Memory, Stream, detect_device, driver, forget_probe
from cyxcloud._device_ring import DeviceRing
from cyxcloud._ring import Ring
from cyxcloud.tensors import as_tensor

state = {}


def detect():
    return detect_device()


def about():
    cuda = driver()
    name = ctypes.create_string_buffer(256)
    version = ctypes.c_int()
    cuda._library.cuDeviceGetName(name, 256, cuda.device(None))
    cuda._library.cuDriverGetVersion(ctypes.byref(version))
    try:
        import torch

        framework = torch.__version__ if torch.cuda.is_available() else None
    except ImportError:
        framework = None
    return {"name": name.value.decode(), "cuda": version.value, "torch": framework}


def attach(path, size, slots, slot_bytes, backend):
    ring = Ring.map(path, size, slots, slot_bytes)
    state["ring"] = ring if backend == "shm" else DeviceRing(ring, backend)
    forget_probe()
    return {"handles": list(state["ring"].handles), "pinned": getattr(state["ring"], "pinned", None)}


def digest(slot, length, torch):
    """Of a batch as the trainer sees it right after it was announced."""
    ring = state["ring"]
    ring.receive(slot, length)
    array = ring.array(slot, 0, "uint8", (length,))
    # For torch as batch.to_tensor() does.
    content = as_tensor(array, "torch").cpu().numpy().tobytes() if torch else array.tobytes()
    ring.retire(slot).wait()
    return hashlib.sha256(content).hexdigest()


def copy_speed(length, copies, slots):
    """Bytes a second of our own copies from the registered ring, every slot in flight."""
    ring = state["ring"]
    started = time.perf_counter()
    for i in range(copies):
        if i >= slots:
            ring.retire(i % slots).wait()
        ring.receive(i % slots, length)
    for slot in range(slots):
        ring.retire(slot).wait()
    return copies * length / (time.perf_counter() - started)


def pinned_speed(length, copies, slots):
    """Bytes a second of plain copies from memory that the driver allocated, as many in flight."""
    if "baseline" not in state:
        context = Context(driver().device(None))
        library = driver()._library
        library.cuMemAllocHost_v2.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        host = []
        with context:
            for _ in range(slots):
                address = ctypes.c_void_p()
                if library.cuMemAllocHost_v2(ctypes.byref(address), length):
                    raise MemoryError("The driver has no page-locked memory to compare with.")
                host.append(address)
        device = [Memory(context, length) for _ in range(slots)]
        state["baseline"] = (context, host, device, Stream(context), [Event(context) for _ in range(slots)])
    context, host, device, stream, events = state["baseline"]
    started = time.perf_counter()
    with context as cuda:
        for i in range(copies):
            slot = i % slots
            if i >= slots:
                events[slot].wait()
            cuda.call("cuMemcpyHtoDAsync_v2", device[slot].address, host[slot], length, stream.handle)
            events[slot].record(stream.handle)
        cuda.call("cuStreamSynchronize", stream.handle)
    return copies * length / (time.perf_counter() - started)


def close():
    state.pop("ring").close()
    if "baseline" in state:
        context, host = state.pop("baseline")[:2]
        library = driver()._library
        library.cuMemFreeHost.argtypes = [ctypes.c_void_p]
        with context:
            for address in host:
                library.cuMemFreeHost(address)


CALLS = {call.__name__: call for call in (detect, about, attach, digest, copy_speed, pinned_speed, close)}

for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": CALLS[request.pop("call")](**request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
