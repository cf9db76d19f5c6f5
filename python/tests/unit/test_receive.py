"""Direct streams against a gateway that lies, breaks off, and hands over early."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import cyxcloud
from cyxcloud import BatchIterator, DataStreamClient
from cyxcloud.direct.messages import BatchMessage
from cyxcloud.direct.stream import DirectStream
from fake_gateway import FakeGateway, Fault


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyxcloud.direct.receive.FIRST_DELAY_S", 0.001)


@pytest.fixture
def gateways() -> Iterator[list[FakeGateway]]:
    made: list[FakeGateway] = []
    yield made
    for each in made:
        each.close()


def open_stream(gateways: list[FakeGateway], fault: Fault | None = None, **options: Any) -> BatchIterator:
    gateways.append(FakeGateway(fault=fault))
    client = DataStreamClient(gateways[-1].url, access_token="t", pins=None)
    return client.stream_batches("letters", batch_size=3, framework="memoryview", **options)


def expect_everything(gateway: FakeGateway, stream: BatchIterator, epochs: int = 1) -> None:
    seen = []
    for batch in stream:
        assert [bytes(item) for item in batch.items] == [gateway.files[i][1] for i in batch.indices]
        assert batch.labels == [int(path.startswith("odd")) for path in batch.paths]
        seen += batch.indices
    for epoch in range(epochs):
        assert sorted(seen[20 * epoch : 20 * (epoch + 1)]) == list(range(20))
    assert len(seen) == 20 * epochs


def test_acknowledges_with_its_own_head_and_the_last_lease(gateways: list[FakeGateway]) -> None:
    stream = open_stream(gateways, shuffle=True, epochs=2)
    expect_everything(gateways[0], stream, epochs=2)
    last = gateways[0].acknowledged[-1]
    assert (last[4], last[6], last[7], len(last[8])) == (1, 2, 6, 32)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_that_lets_go_neither_waits_nor_ends_the_parents_stream(gateways: list[FakeGateway]) -> None:
    stream = open_stream(gateways, prefetch_batches=1)
    source = stream._source
    assert isinstance(source, DirectStream)
    # As if one of the parent's threads were in the middle of these.
    with source._ready.mutex, source._acknowledger._change, source._receiver.canceled._cond:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            try:
                stream.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    expect_everything(gateways[0], stream)


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("end", ["break", "continue", 14, 8])
def test_joins_answers_that_end_early(gateways: list[FakeGateway], end: Any, every: int) -> None:
    def fault(_: FakeGateway, number: int, __: BatchMessage) -> Any:
        return end if number % every == every - 1 else None

    stream = open_stream(gateways, fault, shuffle=True)
    expect_everything(gateways[0], stream)
    assert [asked.get(20, 0) for asked in gateways[0].requests] == list(range(0, 7, every - 1))[
        : len(gateways[0].requests)
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [(7, cyxcloud.PermissionDeniedError), (10, cyxcloud.AbortedError), (16, cyxcloud.UnauthenticatedError),
     (9, cyxcloud.FailedPreconditionError), (15, cyxcloud.DataLossError), (3, cyxcloud.InvalidArgumentError)],
)  # fmt: skip
def test_other_errors_end_the_stream(gateways: list[FakeGateway], status: int, error: type[Exception]) -> None:
    stream = open_stream(gateways, lambda _, number, __: status if number == 2 else None)
    assert [next(stream).index, next(stream).index] == [0, 1]
    with pytest.raises(error, match=r"Not now\."):
        next(stream)
    assert len(gateways[0].requests) == 1


def test_gives_up_after_ten_attempts_without_progress(gateways: list[FakeGateway]) -> None:
    stream = open_stream(gateways, lambda _, number, __: 14 if number > 2 else None)
    with pytest.raises(cyxcloud.UnavailableError):
        list(stream)
    assert len(gateways[0].requests) == 10


def altered(batch: BatchMessage) -> None:
    batch.items[1] = memoryview(b"item X")


def swapped(batch: BatchMessage) -> None:
    for field in ("items", "item_hashes", "item_indices"):
        values = getattr(batch, field)
        values[0], values[1] = values[1], values[0]


def changed(field: str, value: Any) -> Any:
    return lambda batch: setattr(batch, field, value)


@pytest.mark.parametrize(
    ("lie", "subject"),
    [
        (swapped, "order"),
        (changed("item_hashes", [bytes(32)] * 3), "item hash"),
        (changed("item_hashes", []), "item hash"),
        (changed("items", []), "order"),
        (changed("batch_hash", bytes(32)), "batch hash"),
        (changed("transcript_head", bytes(32)), "transcript"),
        (changed("batch_index", 5), "batch index"),
        (changed("total_batches", 3), "total batches"),
        (changed("is_last", True), "is_last"),
        (changed("stream_id", "other"), "stream"),
        (changed("epoch", 1), "stream"),
        (changed("padded_items", 1), "order"),
    ],
)
def test_a_lie_is_named_and_never_asked_for_again(gateways: list[FakeGateway], lie: Any, subject: str) -> None:
    stream = open_stream(gateways, lambda _, number, batch: lie(batch) if number == 2 else None, shuffle=True)
    assert [next(stream).index, next(stream).index] == [0, 1]
    with pytest.raises(cyxcloud.VerificationError, match="Nothing of it was delivered") as caught:
        next(stream)
    assert caught.value.details["subject"] == subject
    assert len(gateways[0].requests) == 1


def test_an_item_that_does_not_fit_is_asked_for_again_twice(gateways: list[FakeGateway]) -> None:
    def twice(gateway: FakeGateway, _: int, batch: BatchMessage) -> None:
        if batch.batch_index == 2 and len(gateway.requests) < 3:
            altered(batch)

    stream = open_stream(gateways, twice)
    expect_everything(gateways[0], stream)
    assert [asked.get(20, 0) for asked in gateways[0].requests] == [0, 2, 2]

    stream = open_stream(gateways, lambda _, __, batch: altered(batch) if batch.batch_index == 2 else None)
    with pytest.raises(cyxcloud.VerificationError, match="item in batch 2 at item") as caught:
        list(stream)
    assert caught.value.details["path"].startswith("even/")
    assert len(gateways[1].requests) == 3


def test_a_transcript_that_the_gateway_denies_ends_the_stream(gateways: list[FakeGateway]) -> None:
    stream = open_stream(gateways)
    gateways[0].answer_acknowledgement = (15, "The transcript differs.")
    with pytest.raises(cyxcloud.DataLossError, match="transcript differs"):
        list(stream)


def test_refused_acknowledgements_do_not_disturb(gateways: list[FakeGateway]) -> None:
    stream = open_stream(gateways)
    gateways[0].answer_acknowledgement = (9, "lease: another one")
    expect_everything(gateways[0], stream)


def test_a_manifest_or_schema_that_does_not_fit_is_refused(gateways: list[FakeGateway]) -> None:
    gateways.append(FakeGateway())
    gateway = gateways[0]
    client = DataStreamClient(gateway.url, access_token="t", pins=None)
    honest, manifest = dict(gateway.info), gateway.manifest
    gateway.manifest = manifest.replace(b"even/000", b"even/00x")
    with pytest.raises(cyxcloud.VerificationError, match="manifest"):
        client.describe("letters")
    gateway.manifest = manifest
    for field, value, subject in (
        ("schema", {**honest["schema"], "classes": ["odd", "even"]}, "schema"),
        ("file_count", 19, "manifest"),
        ("name", "numbers", "name"),
    ):
        gateway.info = {**honest, field: value}
        with pytest.raises(cyxcloud.VerificationError, match=subject):
            client.describe("letters")
    gateway.info = {**honest, "content_hash": "no hash"}
    with pytest.raises(cyxcloud.DataLossError, match="cannot be read"):
        client.describe("letters")
    gateway.info = honest
    assert client.describe("letters")["count"] == 20


def test_a_version_seen_before_may_not_change_or_go_back(gateways: list[FakeGateway], tmp_path: Any) -> None:
    gateways.append(FakeGateway())
    gateway = gateways[0]
    client = DataStreamClient(gateway.url, access_token="t", pins=tmp_path / "pins.json")
    gateway.info["version"] = 2
    assert client.describe("letters")["dataset"]["pinned"] is False
    assert client.describe("letters")["dataset"]["pinned"] is True
    gateway.info |= {"id": DATASET_ID_OLDER, "version": 1}
    with pytest.raises(cyxcloud.VerificationError, match="2 or newer"):
        client.describe("letters")


DATASET_ID_OLDER = "11111111-7a51-4a4e-9d3e-0d6f3d1c2b1a"
