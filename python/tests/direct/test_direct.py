"""Streams straight from a real gateway, verified here."""

from __future__ import annotations

import os
import sys
import threading
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy
import pytest

import cyxcloud
from cyxcloud import BatchIterator, DataStreamClient
from cyxcloud.direct.stream import DirectStream
from world import World

CASES = {"batchSize": "batch_size", "worldSize": "world_size"}


def open_stream(world: World, dataset: str = "digits", reference: str | None = None, **options: Any) -> BatchIterator:
    client = DataStreamClient(world.gateway, access_token=world.tokens[dataset], pins=None)
    return client.stream_batches(reference or dataset, **{"framework": "numpy", "batch_size": 32, **options})


def indices_of(stream: BatchIterator) -> list[list[int]]:
    return [batch.indices for batch in stream]


@pytest.mark.parametrize("number", range(4))
def test_agrees_with_the_other_client_batch_by_batch(world: World, number: int) -> None:
    expected = world.streams[number]
    options = {CASES.get(name, name): value for name, value in expected["options"].items()}
    stream = open_stream(world, **{**options, "seed": int(options["seed"])})
    heads, seen = [], []
    for batch in stream:
        seen.append(batch.indices)
        heads.append(batch._holding.delivery.batch.transcript_head.hex())  # type: ignore[union-attr]
    assert seen == expected["indices"]
    assert heads[-1] == expected["head"]


def test_images_are_decoded_and_labelled_by_their_folders(world: World) -> None:
    seen = 0
    for batch in open_stream(world, shuffle=True, seed=3, filter="train/", batch_size=100):
        images = batch.to_tensor()
        assert images.shape == (len(batch), 8, 8, 1)
        assert images.dtype == numpy.uint8
        assert batch.labels.tolist() == [int(path.split("/")[1]) for path in batch.paths]
        assert images.max() > 100
        seen += len(batch)
    assert seen == 1437


def test_arrays_raw_tensors_and_texts(world: World) -> None:
    for dataset, shape in (("arrays", (2, 3)), ("raw", (6,))):
        for batch in open_stream(world, dataset, batch_size=20):
            expected = numpy.stack([(i + numpy.arange(6) / 8).reshape(shape) for i in numbers_of(batch)])
            assert numpy.array_equal(batch.to_tensor(), expected.astype("float32"))
            assert (batch.labels is None) == (dataset == "raw")
    for batch in open_stream(world, "texts", batch_size=7):
        assert [str(item, "utf-8") for item in batch.items] == [f"text {'x' * i} ✓" for i in numbers_of(batch)]
        with pytest.raises(cyxcloud.FailedPreconditionError, match=r"batch\.items"):
            batch.to_tensor()


def test_images_without_pillow_say_what_decodes_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    batch = next(open_stream(world))
    assert bytes(batch.items[0]).startswith(b"\x89PNG")
    with pytest.raises(cyxcloud.FailedPreconditionError, match=r"pip install pillow.*companion.*batch\.items"):
        batch.to_tensor()


def numbers_of(batch: cyxcloud.Batch) -> list[int]:
    return [int(path.rsplit("/", 1)[1]) for path in batch.paths]


def test_goes_on_at_a_position_at_the_same_and_at_another_world_size(world: World) -> None:
    options = {"shuffle": True, "seed": 11, "epochs": 2, "batch_size": 60, "filter": "train/"}
    whole = indices_of(open_stream(world, **options))
    stream = open_stream(world, **options)
    for _ in range(31):
        batch = next(stream)
    stream.close()
    assert batch.position == {"epoch": 1, "start_index": 0, "batch_index": 7, "world_size": 1, "batch_size": 60}
    rest = open_stream(world, **{**options, "epochs": 1}, position=batch.position)
    assert indices_of(rest) == whole[31:]

    two = [
        indices_of(open_stream(world, **{**options, "epochs": 1}, position=batch.position, rank=rank, world_size=2))
        for rank in range(2)
    ]
    dealt = [index for pair in zip_longest(*two, fillvalue=[]) for index in interleaved(*pair)]
    assert dealt == [index for each in whole[31:] for index in each]


def interleaved(*ranks: list[int]) -> list[int]:
    """Positions in the order of the epoch: rank r has every w-th."""
    return [index for each in zip_longest(*ranks) for index in each if index is not None]


def test_a_known_stream_goes_on_behind_its_last_acknowledgement(world: World) -> None:
    options: dict[str, Any] = {"stream_id": "python-run", "shuffle": True, "seed": 5, "batch_size": 100}
    whole = indices_of(open_stream(world, shuffle=True, seed=5, batch_size=100))
    stream = open_stream(world, **options)
    for _ in range(4):
        next(stream)
    source = stream._source
    assert isinstance(source, DirectStream)
    source._acknowledger.flush()
    stream.close()
    assert indices_of(open_stream(world, **options)) == whole[3:]
    with pytest.raises(cyxcloud.FailedPreconditionError, match="seed"):
        list(open_stream(world, **{**options, "seed": 6}))


def test_the_gateways_errors_come_with_their_codes(world: World) -> None:
    with pytest.raises(cyxcloud.UnauthenticatedError):
        DataStreamClient(world.gateway, access_token="none", pins=None).stream_batches("digits")
    with pytest.raises(cyxcloud.PermissionDeniedError, match="does not open this dataset"):
        open_stream(world, reference="no-such-dataset")
    with pytest.raises(cyxcloud.InvalidArgumentError, match="filter: matches no file"):
        open_stream(world, filter="nowhere/")
    with pytest.raises(cyxcloud.InvalidArgumentError, match="processing: is what a companion does"):
        open_stream(world, processing={"version": 1, "steps": []})


def test_content_and_schema_can_be_pinned_from_elsewhere(world: World, tmp_path: Path) -> None:
    described = DataStreamClient(world.gateway, access_token=world.tokens["raw"], pins=None).describe("raw")
    dataset = described["dataset"]
    assert (dataset["pinned"], dataset["count"]) == (False, 50)
    content, schema = dataset["content_hash"], dataset["schema_hash"]
    pinned = open_stream(world, "raw", f"raw@blake3:{content}", schema_hash=schema)
    assert pinned.description["dataset"]["pinned"] is True
    assert len(indices_of(pinned)) == 2
    with pytest.raises(cyxcloud.PermissionDeniedError):
        open_stream(world, "raw", f"raw@blake3:{'0' * 64}")
    with pytest.raises(cyxcloud.VerificationError, match="schema"):
        open_stream(world, "raw", schema_hash="0" * 64)

    # What was seen once is remembered in a file.
    for expected in (False, True):
        client = DataStreamClient(world.gateway, access_token=world.tokens["raw"], pins=tmp_path / "deep" / "pins.json")
        assert client.describe("raw")["dataset"]["pinned"] is expected
    pins = tmp_path / "deep" / "pins.json"
    pins.write_text(pins.read_text().replace(content, "1" * 64))
    with pytest.raises(cyxcloud.VerificationError, match="content hash"):
        client.describe("raw")


def test_without_blake3_it_refuses_unless_told_not_to_verify(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = indices_of(open_stream(world, "raw"))
    monkeypatch.setitem(__import__("sys").modules, "blake3", None)
    with pytest.raises(cyxcloud.FailedPreconditionError, match="pip install blake3"):
        open_stream(world, "raw")
    client = DataStreamClient(world.gateway, access_token=world.tokens["raw"], pins=None, verify=False)
    assert indices_of(client.stream_batches("raw")) == expected


def test_leaving_the_loop_ends_its_threads(world: World) -> None:
    before = threading.active_count()
    for _ in open_stream(world, epochs=50):
        break
    for thread in threading.enumerate():
        if thread.name.startswith("cyxcloud-"):
            thread.join(20)
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_client_works_after_a_fork(world: World) -> None:
    client = DataStreamClient(world.gateway, access_token=world.tokens["raw"], pins=None)
    expected = indices_of(client.stream_batches("raw"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if indices_of(client.stream_batches("raw")) == expected else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
