"""Streams through a real companion, which the package starts by itself, from a real gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy
import pytest

import cyxcloud
from cyxcloud import BatchIterator, DataStreamClient
from cyxcloud.address import CompanionAddress, parse_address, probe
from world import World


def found(address: str) -> CompanionAddress:
    answer = probe(parse_address(address))
    assert answer is not None
    return answer


def client_of(world: World, address: str, dataset: str = "digits") -> DataStreamClient:
    return DataStreamClient(address, gateway=world.gateway, access_token=world.tokens[dataset])


def open_stream(world: World, address: str, dataset: str = "digits", **options: Any) -> BatchIterator:
    options = {"framework": "numpy", "batch_size": 32, **options}
    return client_of(world, address, dataset).stream_batches(dataset, **options)


def test_starts_a_companion_and_streams_what_the_gateway_itself_sends(world: World, address: str) -> None:
    options: dict[str, Any] = {"shuffle": True, "seed": 5, "epochs": 2, "filter": "train/", "batch_size": 100}
    direct = DataStreamClient(world.gateway, access_token=world.tokens["digits"], pins=None)
    both = zip(
        open_stream(world, address, **options),
        direct.stream_batches("digits", framework="numpy", **options),
    )
    count = 0
    for ours, theirs in both:
        assert ours.indices == theirs.indices
        assert ours.paths == theirs.paths
        assert ours.position == theirs.position
        assert (ours.index, ours.epoch, ours.total_batches, ours.is_last) == (
            theirs.index, theirs.epoch, theirs.total_batches, theirs.is_last,
        )  # fmt: skip
        assert numpy.array_equal(ours.to_tensor(), theirs.to_tensor())
        assert ours.labels.tolist() == theirs.labels.tolist()
        count += len(ours)
    assert count == 2 * 1437
    assert found(address).gateway == world.gateway


def test_describes_like_the_direct_client(world: World, address: str) -> None:
    direct = DataStreamClient(world.gateway, access_token=world.tokens["arrays"], pins=None)
    ours = client_of(world, address, "arrays").describe("arrays", batch_size=7, world_size=2, rank=1)
    theirs = direct.describe("arrays", batch_size=7, world_size=2, rank=1)
    for name in ("count", "total_batches", "batches_per_epoch"):
        assert ours[name] == theirs[name]
    for name in ("id", "content_hash", "schema_hash", "schema", "count", "total_bytes", "version", "name"):
        assert ours["dataset"][name] == theirs["dataset"][name]


@pytest.mark.parametrize("dataset", ["arrays", "raw", "texts"])
def test_other_formats_equal_those_of_the_direct_client(world: World, address: str, dataset: str) -> None:
    direct = DataStreamClient(world.gateway, access_token=world.tokens[dataset], pins=None)
    sizes = []
    both = zip(
        open_stream(world, address, dataset, batch_size=20),
        direct.stream_batches(dataset, batch_size=20, framework="numpy"),
    )
    for ours, theirs in both:
        assert [bytes(item) for item in ours.items] == [bytes(item) for item in theirs.items]
        if dataset != "texts":
            assert ours.to_tensor().dtype == theirs.to_tensor().dtype
            assert ours.to_tensor().shape == theirs.to_tensor().shape
        sizes.append(len(ours))
    assert sizes == [20, 20, 10]


def test_a_slot_that_a_tensor_shows_is_not_filled_again(world: World, address: str) -> None:
    whole = [batch.to_tensor(copy=True) for batch in open_stream(world, address, seed=1, shuffle=True)]
    stream = open_stream(world, address, seed=1, shuffle=True, slots=6)
    kept = [next(stream).to_tensor() for _ in range(4)]
    rest = [batch.to_tensor(copy=True) for batch in stream]
    assert all(numpy.array_equal(ours, theirs) for ours, theirs in zip([*kept, *rest], whole))
    assert len(kept) + len(rest) == len(whole)


def test_goes_on_when_the_companion_is_killed(world: World, address: str) -> None:
    options: dict[str, Any] = {"shuffle": "block", "seed": 9, "epochs": 2, "batch_size": 64}
    expected = [batch.indices for batch in open_stream(world, address, **options)]
    stream = open_stream(world, address, **options)
    seen = [next(stream).indices for _ in range(20)]
    killed = found(address).pid
    os.kill(killed or 0, signal.SIGKILL)
    seen += [batch.indices for batch in stream]
    assert seen == expected
    assert found(address).pid != killed


def test_goes_on_when_the_companion_is_told_to_stop(world: World, address: str) -> None:
    expected = [batch.indices for batch in open_stream(world, address)]
    stream = open_stream(world, address)
    seen = [next(stream).indices for _ in range(5)]
    os.kill(found(address).pid or 0, signal.SIGTERM)
    seen += [batch.indices for batch in stream]
    assert seen == expected


def test_errors_of_gateway_and_companion(world: World, address: str) -> None:
    with pytest.raises(cyxcloud.DataStreamError) as caught:
        client_of(world, address).stream_batches("digits", access_token="none")
    assert caught.value.code in ("unauthenticated", "permission_denied")
    with pytest.raises(cyxcloud.InvalidArgumentError, match="filter"):
        open_stream(world, address, filter="nowhere/")
    with pytest.raises(cyxcloud.VerificationError, match="schema"):
        open_stream(world, address, schema_hash="0" * 64)
    position = {"epoch": 0, "start_index": 0, "batch_index": 999, "world_size": 1, "batch_size": 32}
    with pytest.raises(cyxcloud.InvalidArgumentError, match="position"):
        list(open_stream(world, address, position=position))


def test_nothing_is_left_in_shared_memory(world: World, address: str) -> None:
    def files() -> set[str]:
        return {name for name in os.listdir("/dev/shm") if "cyxcloud" in name}

    before = files()
    for _ in range(10):
        stream = open_stream(world, address)
        next(stream)
        stream.close()
    streams = [open_stream(world, address) for _ in range(3)]
    for stream in streams:
        # Comes after the companion has taken the file's name away.
        next(stream)
    assert files() == before
    for stream in streams:
        stream.close()


def test_ranks_in_processes_of_their_own_share_the_epoch(world: World, address: str) -> None:
    script = (
        "import cyxcloud, json, sys; rank = int(sys.argv[1]);"
        f"client = cyxcloud.DataStreamClient({address!r}, gateway={world.gateway!r}, access_token={world.tokens['digits']!r});"
        "stream = client.stream_batches('digits', batch_size=50, shuffle=True, seed=2, rank=rank, world_size=3);"
        "print(json.dumps([batch.indices for batch in stream]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ranks = [
        subprocess.Popen([sys.executable, "-c", script, str(rank)], env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(3)
    ]
    indices = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert sorted(index for rank in indices for batch in rank for index in batch) == list(range(1797))


def test_the_companion_counts(world: World, address: str) -> None:
    list(open_stream(world, address))
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        assert b"cyxcloud" in answer.read()
