"""Batches in device memory, with a driver that only pretends: `CYXCLOUD_LIBCUDA` names test/companion/cuda/libcuda."""

from __future__ import annotations

import ctypes
import gc
import os
import time
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
        assert array.__dlpack_device__()[0] == 2
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
