"""A training process, reduced to what tests of the device backends ask for: JSON lines in, JSON lines out."""

import base64
import ctypes
import dataclasses
import gc
import json
import os
import sys
from types import SimpleNamespace

from cyxcloud import _cuda, handoff
from cyxcloud._cuda import detect_device, driver, forget_probe
from cyxcloud._device_ring import DeviceRing
from cyxcloud._ring import Ring
from cyxcloud.lending import Lender
from cyxcloud.options import StreamOptions

state = {}


def pattern(number, length):
    """What batch `number` consists of; every batch differs from the one before in every byte."""
    return bytes([number % 251]) * length


def detect(ordinal=None):
    return detect_device(ordinal)


def attach(path, size, slots, slot_bytes, backend, ordinal=None):
    ring = Ring.map(path, size, slots, slot_bytes)
    state["host"] = ring
    state["ring"] = ring if backend == "shm" else DeviceRing(ring, backend, ordinal)
    forget_probe()
    return {"handles": list(state["ring"].handles), "pinned": getattr(state["ring"], "pinned", None)}


def check(slot, number, length):
    """How many bytes of a batch are wrong, as the consumer sees it right after the announcement."""
    ring = state["ring"]
    ring.receive(slot, length)
    content = ring.array(slot, 0, "uint8", (length,)).tobytes()
    wrong = sum(a != b for a, b in zip(content, pattern(number, length))) if content != pattern(number, length) else 0
    ring.retire(slot).wait()
    return wrong


def take(slot, length):
    """A batch, announced with so many bytes, as it is on the device."""
    ring = state["ring"]
    ring.receive(slot, length)
    content = ring.array(slot, 0, "uint8", (length,)).tobytes()
    ring.retire(slot).wait()
    return base64.b64encode(content).decode()


def leave_out(name):
    """From now on the driver does not get calls of this name."""
    left_out = name
    original = _cuda.Driver.call

    def skipping(self, name, *arguments):
        if name != left_out:
            original(self, name, *arguments)

    _cuda.Driver.call = skipping


def slow_reader(slot, number, length, batches, fenced):
    """Reads batches by copies that are still under way when the user lets go; the slot is filled again at once or,
    as it must be, after the fence. Returns how many were read wrong."""
    ring = state["ring"]
    host = state["host"].slot(slot)
    stream = _cuda.Stream(ring._context)
    wrong = 0
    for i in range(batches):
        host[:length] = pattern(number + i, length)
        ring.receive(slot, length)
        array = ring.array(slot, 0, "uint8", (length,))
        array.use_on(stream.handle.value)
        target = ctypes.create_string_buffer(length)
        with ring._context as cuda:
            cuda.call("cuMemcpyDtoHAsync_v2", target, array._slot.memory.address, length, stream.handle)
        fence = ring.retire(slot)
        if fenced:
            fence.wait()
            assert fence.done()
        # The companion has the slot again, and fills it.
        host[:length] = pattern(number + i + 100, length)
        ring.receive(slot, length)
        with ring._context as cuda:
            cuda.call("cuStreamSynchronize", ring._stream.handle)
            cuda.call("cuStreamSynchronize", stream.handle)
        wrong += target.raw != pattern(number + i, length)
    return wrong


def lent_reader(slot, number, length, batches, told):
    """As slow_reader, by leases: the stream that reads is named to nobody, but it is the one that torch calls current,
    if it is told. Returns how many batches were read wrong."""
    ring = state["ring"]
    host = state["host"].slot(slot)
    stream = _cuda.Stream(ring._context)
    current = SimpleNamespace(cuda_stream=stream.handle.value)
    if told:
        sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(current_stream=lambda ordinal: current))
    released = []
    lender = Lender(SimpleNamespace(process=os.getpid(), closed=False, send=released.append), ring)
    wrong = 0
    for i in range(batches):
        host[:length] = pattern(number + i, length)
        ring.receive(slot, length)
        array = ring.array(slot, 0, "uint8", (length,), lender.lend(i, slot))
        array.use_on(-1)
        target = ctypes.create_string_buffer(length)
        with ring._context as cuda:
            cuda.call("cuMemcpyDtoHAsync_v2", target, array._slot.memory.address, length, stream.handle)
        del array
        while not released:
            lender.flush()
        assert released.pop() == {"type": "release", "lease": i, "slot": slot}
        # The companion has the slot again, and fills it.
        host[:length] = pattern(number + i + 100, length)
        ring.receive(slot, length)
        with ring._context as cuda:
            cuda.call("cuStreamSynchronize", ring._stream.handle)
            cuda.call("cuStreamSynchronize", stream.handle)
        wrong += target.raw != pattern(number + i, length)
    sys.modules.pop("torch", None)
    return wrong


def keep(slot, length):
    """Takes an array as torch would, which must outlive the ring."""
    array = state["ring"].array(slot, 0, "uint8", (length,))
    array.use_on(1)
    state["array"] = array
    return array.device


def drop():
    state.pop("array", None)
    gc.collect()
    return live()


def close():
    state.pop("ring").close()
    state.pop("host").close()
    gc.collect()
    return live()


def cycle(path, size, slots, slot_bytes, times):
    """Attaches again and again, with a batch on its way and an array taken when the ring is closed."""
    for i in range(times):
        ring = DeviceRing(Ring.map(path, size, slots, slot_bytes), ("cuda-ipc", "cuda-hostreg")[i % 2])
        ring.receive(0, slot_bytes)
        array = ring.array(0, 0, "uint8", (16,))
        array.use_on(1)
        ring.close()
        del ring, array
    gc.collect()
    return live()


def open_stream(path):
    """A stream of the companion at the socket, on the first device."""
    handoff.device_ordinal = lambda *_: 0
    given = {"dataset_id": "letters", "access_token": "t", "batch_size": 4, "shuffle": "sequential", "seed": 0}
    unset = dict.fromkeys(field.name for field in dataclasses.fields(StreamOptions))
    options = StreamOptions(**{**unset, **given, "on_error": "raise", "backend": "cuda-ipc"})
    state["stream"] = handoff.open_stream(path, options, None, "memoryview")


def next_batch():
    return next(state["stream"]).index


def close_stream(waits=True):
    stream = state.pop("stream")
    if not waits:
        stream.lender._line.drain = lambda *_: None
    stream.close()
    del stream
    forget_probe()
    gc.collect()
    return live()


def live():
    library = driver()._library
    library.mockLive.argtypes = [ctypes.c_char]
    names = ("contexts", "streams", "events", "allocations", "mappings", "registrations")
    counts = {name: library.mockLive(name[0].encode()) for name in names}
    counts["violations"] = library.mockViolations()
    return counts


def unpinned():
    return driver()._library.mockUnpinnedCopies()


def end():
    state.clear()
    forget_probe()
    gc.collect()
    return live()


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"result": globals()[request.pop("call")](**request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
