"""Batches in device memory, with a driver that only pretends: `CYXCLOUD_LIBCUDA` names test/companion/cuda/libcuda."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import sys
import time
import types
from typing import Any

import pytest

import cyxcloud
from cyxcloud import DataStreamClient, gpu, handoff
from world import World


@pytest.fixture(autouse=True)
def a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch is not asked: it would look for a real one.
    monkeypatch.setattr(handoff, "device_ordinal", lambda options, _: None if options.backend == "shm" else 0)


def open_stream(world: World, address: str, **options: Any) -> cyxcloud.BatchIterator:
    client = DataStreamClient(address, gateway=world.gateway, access_token=world.tokens["digits"])
    return client.stream_batches("digits", batch_size=100, filter="train/", framework="numpy", **options)


@pytest.mark.parametrize("backend", ["cuda-ipc", "cuda-hostreg", "auto"])
def test_device_and_host_see_the_same_batches(world: World, address: str, backend: str) -> None:
    expected = [(batch.indices, batch.to_tensor().tobytes()) for batch in open_stream(world, address, backend="shm")]
    stream = open_stream(world, address, backend=backend)
    assert stream.description["backend"] == (backend if backend != "auto" else "cuda-ipc")
    seen = []
    for batch in stream:
        holding: Any = batch._holding
        array = holding.data(on_host=False)
        assert array.device == 0
        # As a framework's stream does.
        array.use_on(None)
        seen.append((batch.indices, array.tobytes()))
        assert batch.to_tensor().tobytes() == seen[-1][1]
    assert seen == expected


def test_a_slot_on_the_device_goes_back_when_the_last_array_of_it_is_gone(world: World, address: str) -> None:
    stream = open_stream(world, address, backend="cuda-hostreg", slots=4)
    held: list[Any] = []
    contents = []
    for _ in range(3):
        holding: Any = next(stream)._holding
        held.append(holding.data(on_host=False))
        held[-1].use_on(None)
        contents.append(held[-1].tobytes())
    del holding
    for _ in range(5):
        next(stream)
    assert [array.tobytes() for array in held] == contents
    held.clear()
    assert sum(1 for _ in stream) == 7


class Tensor:
    """What torch would make of device memory: it holds the object that it was made of, and reads where that says."""

    def __init__(self, made_of: Any) -> None:
        self.made_of = made_of
        self.interface = made_of.__cuda_array_interface__

    def view(self, dtype: str) -> Tensor:
        assert dtype == "torch.uint8"
        return self

    def tobytes(self) -> bytes:
        size = math.prod(self.interface["shape"])
        target = ctypes.create_string_buffer(size)
        address, _ = self.interface["data"]
        library = ctypes.CDLL(os.environ["CYXCLOUD_LIBCUDA"])
        with self.made_of._array._slot.memory.context:
            assert library.cuMemcpyDtoHAsync_v2(target, ctypes.c_uint64(address), ctypes.c_size_t(size), None) == 0
            assert library.cuCtxSynchronize() == 0
        return target.raw


@pytest.mark.parametrize("backend", ["cuda-ipc", "cuda-hostreg"])
def test_torch_takes_device_memory_and_holds_it(
    world: World, address: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = types.SimpleNamespace(
        uint8="torch.uint8",
        int64="torch.int64",
        as_tensor=lambda made_of, device: Tensor(made_of) if device == "cuda:0" else None,
        tensor=lambda values, dtype, device: (list(values), dtype, device),
        cuda=types.SimpleNamespace(current_stream=lambda _: types.SimpleNamespace(cuda_stream=0)),
    )
    monkeypatch.setattr(Tensor, "to", lambda self, device, non_blocking: self, raising=False)
    stream = open_stream(world, address, backend=backend, slots=4)
    batch = next(stream)
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    tensor = batch.to_tensor("torch")
    assert (tensor.interface["shape"], tensor.interface["typestr"]) == ((100, 8, 8, 1), "|u1")
    content = batch.to_tensor("numpy").tobytes()
    del batch
    for _ in range(6):
        next(stream)
    assert tensor.tobytes() == content
    monkeypatch.delitem(sys.modules, "torch")


def test_a_device_without_memory_falls_back_to_the_host(
    world: World, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handoff, "device_ring", lambda *_: None)
    stream = open_stream(world, address)
    assert stream.description["backend"] == "shm"
    assert sum(1 for _ in stream) == 15
    with pytest.raises(cyxcloud.FailedPreconditionError, match="no memory for"):
        open_stream(world, address, backend="cuda-hostreg")


def test_nothing_is_left_on_the_device(world: World, address: str) -> None:
    library = ctypes.CDLL(os.environ["CYXCLOUD_LIBCUDA"])
    for _ in range(3):
        stream = open_stream(world, address)
        kept = next(stream)
        stream.close()
        del kept, stream
    gpu.forget_report()
    gc.collect()
    deadline = time.monotonic() + 20
    while any(library.mockLive(ord(sort)) for sort in "asmr") and time.monotonic() < deadline:
        gc.collect()
    assert {sort: library.mockLive(ord(sort)) for sort in "asmr"} == {"a": 0, "s": 0, "m": 0, "r": 0}
    assert library.mockViolations() == 0
