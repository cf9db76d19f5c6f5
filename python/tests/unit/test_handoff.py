"""The handoff client against a companion that follows docs/formats/handoff-v1.md."""

from __future__ import annotations

import gc
import os
import pickle
import socket
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cyxcloud
from cyxcloud import Batch, BatchIterator, DataStreamClient
from fake_companion import CONTENT_HASH, FakeCompanion

Make = Callable[..., FakeCompanion]


def open_stream(
    companion: FakeCompanion, batch_size: int = 4, framework: str = "memoryview", **options: Any
) -> BatchIterator:
    client = DataStreamClient(f"unix:{companion.path}", access_token="t")
    return client.stream_batches("fake", batch_size=batch_size, framework=framework, **options)


def first_bytes(batch: Batch) -> list[int]:
    return [bytes(item)[0] for item in batch.items]


def test_delivers_every_item_once_with_labels_indices_paths_and_position(companion: Make) -> None:
    fake = companion(count=10)
    seen = []
    with open_stream(fake, epochs=2) as stream:
        assert stream.description["batches_per_epoch"] == 3
        for batch in stream:
            assert batch.labels == [i % 3 for i in batch.indices]
            assert batch.paths == tuple(f"class-{i % 3}/{i}.bin" for i in batch.indices)
            assert first_bytes(batch) == batch.indices
            assert len(batch) == len(batch.indices)
            assert batch.dataset == CONTENT_HASH
            seen.append((batch.epoch, batch.index, batch.is_last, batch.indices, batch.position["batch_index"]))
    assert seen == [
        (epoch, index, index == 2, list(range(4 * index, min(10, 4 * index + 4))), index + 1)
        for epoch in (0, 1)
        for index in range(3)
    ]
    assert stream.position == {"epoch": 1, "start_index": 0, "batch_index": 3, "world_size": 1, "batch_size": 4}


def test_a_batch_is_acknowledged_and_released_when_the_next_is_asked_for(companion: Make) -> None:
    fake = companion()
    with open_stream(fake) as stream:
        first = next(stream)
        assert not first.released
        assert fake.sent("release") == []
        next(stream)
        assert first.released
        fake.wait(lambda: fake.sent("release"))
        assert fake.sent("release") == [{"type": "release", "lease": 0, "slot": 0, "acknowledge": True}]
        with pytest.raises(cyxcloud.FailedPreconditionError, match="released when the next one was asked for"):
            first.to_tensor()


def test_the_last_batch_is_acknowledged_and_one_that_a_loop_was_left_at_is_not(companion: Make) -> None:
    fake = companion(count=8)
    for _ in open_stream(fake):
        pass
    fake.wait(lambda: len(fake.sent("release")) == 2)
    assert all(each["acknowledge"] for each in fake.sent("release"))

    left = companion(count=8)
    for _ in open_stream(left):
        break
    del _
    left.wait(lambda: left.sent("close"))
    assert [each for each in left.sent("release") if each.get("acknowledge")] == []


def test_a_checkpoint_goes_along_with_the_release(companion: Make) -> None:
    fake = companion()
    with open_stream(fake) as stream:
        next(stream).acknowledge(checkpoint=True)
        next(stream)
        fake.wait(lambda: fake.sent("release"))
        assert fake.sent("release")[0] == {
            "type": "release",
            "lease": 0,
            "slot": 0,
            "acknowledge": True,
            "checkpoint": True,
        }


@pytest.mark.parametrize("framework", ["numpy", "memoryview"])
def test_memory_that_a_tensor_shows_is_never_filled_again(companion: Make, framework: str) -> None:
    fake = companion(count=200)
    with open_stream(fake, framework=framework, slots=4) as stream:
        tensors = [next(stream).to_tensor() for _ in range(3)]
        fake.wait(lambda: len(fake.sent("release")) == 0)
        for _ in range(20):
            next(stream)
        assert [bytes(memoryview(tensor).cast("B"))[0] for tensor in tensors] == [0, 4, 8]
        del tensors
        gc.collect()
        fake.wait(lambda: {0, 1, 2} <= {each["lease"] for each in fake.sent("release")})


def test_a_slice_of_a_tensor_holds_the_memory_as_well(companion: Make) -> None:
    numpy = pytest.importorskip("numpy")
    fake = companion(count=200)
    with open_stream(fake, framework="numpy", slots=3) as stream:
        row = next(stream).to_tensor()[1]
        for _ in range(10):
            next(stream)
        assert numpy.array_equal(row, [1, 1, 1, 1])


def test_tensors_are_views_that_may_be_written_to(companion: Make) -> None:
    fake = companion()
    with open_stream(fake, framework="numpy") as stream:
        batch = next(stream)
        batch.to_tensor()[0] = 99
        assert batch.to_tensor()[0].tolist() == [99] * 4
        copied = batch.to_tensor(copy=True)
        copied[0] = 7
        assert batch.to_tensor()[0].tolist() == [99] * 4
        assert batch.labels.dtype == "int64"


def test_who_holds_every_slot_is_told(companion: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyxcloud.handoff.HELD_PATIENCE_S", 0.05)
    fake = companion(count=200)
    with open_stream(fake, framework="numpy", slots=3) as stream:
        tensors = [next(stream).to_tensor() for _ in range(3)]
        with pytest.raises(cyxcloud.ResourceExhaustedError, match=r"holds 3 of 3 batches.*copy=True") as caught:
            next(stream)
        assert caught.value.details == {"field": "slots", "limit": 3}
        tensors.clear()
        assert next(stream).index == 3


def test_another_thread_that_lets_go_in_time_lets_the_stream_go_on(companion: Make) -> None:
    fake = companion(count=200)
    with open_stream(fake, framework="numpy", slots=2) as stream:
        tensors = [next(stream).to_tensor() for _ in range(2)]
        threading.Timer(0.1, tensors.clear).start()
        assert next(stream).index == 2


def test_keep_holds_until_release_and_refuses_the_last_slot(companion: Make) -> None:
    fake = companion(count=200)
    with open_stream(fake, slots=3) as stream:
        first, second = next(stream).keep(), next(stream).keep()
        third = next(stream)
        with pytest.raises(cyxcloud.ResourceExhaustedError):
            third.keep()
        for _ in range(10):
            next(stream)
        assert first_bytes(first) == [0, 1, 2, 3]
        assert first.paths[1] == "class-1/1.bin"
        with second as kept:
            assert first_bytes(kept) == [4, 5, 6, 7]
        assert second.released
        first.release()
        fake.wait(lambda: {0, 1} <= {each["lease"] for each in fake.sent("release")})


def test_kept_batches_and_tensors_outlive_the_stream(companion: Make) -> None:
    fake = companion()
    stream = open_stream(fake, framework="numpy")
    kept = next(stream).keep()
    tensor = next(stream).to_tensor()
    stream.close()
    assert first_bytes(kept) == [0, 1, 2, 3]
    assert tensor[0].tolist() == [4] * 4
    assert list(stream) == []


def test_batches_that_come_before_the_paths_are_not_lost(companion: Make) -> None:
    fake = companion(count=40)
    seen: list[int] = []
    for batch in open_stream(fake, slots=8):
        assert len(batch.paths) == 4
        seen += batch.indices
    assert seen == list(range(40))


@pytest.mark.parametrize("fault", [{"die_after": 4}, {"drain_after": 4}])
def test_goes_on_behind_the_last_batch_when_the_companion_ends(companion: Make, fault: dict[str, int]) -> None:
    fake = companion(count=42, **fault)
    stream = open_stream(fake, epochs=2, rank=0, world_size=1)
    tensors, seen = [], []
    for batch in stream:
        seen.append((batch.epoch, batch.indices))
        if len(tensors) < 2:
            tensors.append(batch.items)
    flat = [index for _, indices in seen for index in indices]
    assert flat == list(range(42)) * 2
    assert [bytes(items[0])[0] for items in tensors] == [0, 4]
    reopened = fake.sent("open", connection=1)[0]
    assert reopened["stream_id"] == "a-stream"
    assert reopened["position"]["batch_index"] == 4
    assert reopened["epochs"] == 2


def test_paths_are_there_although_the_companion_ended_meanwhile(companion: Make) -> None:
    fake = companion(count=42, die_after=2)
    stream = open_stream(fake)
    next(stream)
    batch = next(stream)
    fake.wait(lambda: not fake._threads[0].is_alive())
    assert batch.paths == tuple(f"class-{i % 3}/{i}.bin" for i in range(4, 8))
    assert [index for each in stream for index in each.indices] == list(range(8, 42))


def test_gives_up_when_no_companion_comes_back(companion: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyxcloud.iterator.FIRST_DELAY_S", 0.001)
    fake = companion(die_after=2)
    stream = open_stream(fake)
    next(stream)
    os.unlink(fake.path)
    with pytest.raises(cyxcloud.UnavailableError, match="cannot be reached"):
        list(stream)


def test_errors_are_exceptions_of_their_code(companion: Make) -> None:
    error = {
        "code": "permission_denied",
        "message": "Trust level 4 is above 0.",
        "details": {"field": "max_trust_level"},
    }
    fake = companion(error=error)
    with pytest.raises(cyxcloud.PermissionDeniedError, match="Trust level 4") as caught:
        open_stream(fake)
    assert caught.value.code == "permission_denied"
    assert caught.value.details == {"field": "max_trust_level"}
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.message, again.details) == (
        type(caught.value),
        caught.value.message,
        caught.value.details,
    )


def test_a_companion_of_another_protocol_is_refused(companion: Make) -> None:
    with pytest.raises(cyxcloud.FailedPreconditionError, match="speaks handoff 2"):
        open_stream(companion(protocol=2))


@pytest.mark.parametrize("on_error", ["skip", "warn", "call"])
def test_items_that_do_not_decode_are_left_out_as_asked(companion: Make, on_error: str) -> None:
    fake = companion(count=12, undecodable=5)
    told: list[cyxcloud.ItemError] = []
    seen: list[int] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for batch in open_stream(fake, on_error=told.append if on_error == "call" else on_error):
            seen += batch.indices
            told += batch.errors if on_error != "call" else []
    assert seen == [i for i in range(12) if i != 5]
    assert told == [cyxcloud.ItemError(5, "class-2/5.bin", "is no image")]
    assert len([each for each in warned if "item 5" in str(each.message)]) == (on_error == "warn")


def test_a_handler_that_raises_ends_the_stream(companion: Make) -> None:
    def refuse(item: cyxcloud.ItemError) -> None:
        raise ValueError(item.path)

    with pytest.raises(ValueError, match="class-2/5"):
        list(open_stream(companion(undecodable=5), on_error=refuse))


def test_a_companion_that_accepts_and_says_nothing_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyxcloud.line.WELCOME_TIMEOUT_S", 0.01)
    monkeypatch.setattr("cyxcloud.iterator.FIRST_DELAY_S", 0.001)
    path = str(tmp_path / "companion.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen(16)
        with pytest.raises(cyxcloud.UnavailableError, match="does not answer"):
            DataStreamClient(f"unix:{path}", access_token="t").stream_batches("fake")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_stream_of_the_parent_is_refused_in_a_fork_and_survives_it(companion: Make) -> None:
    fake = companion(count=40)
    stream = open_stream(fake)
    tensor = next(stream).to_tensor()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with pytest.raises(cyxcloud.FailedPreconditionError, match="forked"):
                next(stream)
            stream.close()
            del tensor
            gc.collect()
            # The client itself opens a connection of its own.
            seen = [index for batch in open_stream(fake) for index in batch.indices]
            status = 0 if seen == list(range(40)) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert bytes(tensor)[0] == 0
    assert [index for batch in stream for index in batch.indices] == list(range(4, 40))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_companion_sees_the_end_of_a_parent_whose_child_lives_on(companion: Make) -> None:
    fake = companion()
    stream = open_stream(fake)
    ready, wait = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(wait)
        os.read(ready, 1)
        os._exit(0)
    # As if killed: the socket goes without a word.
    stream._source._line._socket.close()  # type: ignore[union-attr]
    fake.wait(lambda: not any(thread.is_alive() for thread in fake._threads))
    os.close(wait)
    os.waitpid(child, 0)


def test_describe_starts_nothing(companion: Make) -> None:
    fake = companion(count=10)
    client = DataStreamClient(f"unix:{fake.path}", access_token="t")
    described = client.describe("fake", batch_size=4, rank=1, world_size=2)
    assert (described["count"], described["batches_per_epoch"]) == (10, 2)
    assert [each["type"] for each in fake.received[0]] == ["describe"]


def test_the_request_says_what_was_asked(companion: Make) -> None:
    fake = companion()
    open_stream(
        fake,
        batch_size=2,
        shuffle=True,
        seed=-5,
        drop_last=True,
        filter="train/",
        rank=1,
        world_size=4,
        cache=False,
        max_trust_level=2,
        prefetch_batches=4,
        processing={"version": 1, "steps": []},
        on_error="warn",
    ).close()
    assert fake.sent("open") == [{
        "type": "open", "dataset": "fake", "access_token": "t", "batch_size": 2, "epoch": 0, "epochs": 1, "rank": 1,
        "world_size": 4, "shuffle": "full", "seed": "-5", "tail": "drop_last", "filter": {"prefix": "train/"},
        "max_trust_level": 2, "prefetch_batches": 4, "on_error": "skip", "processing": {"version": 1, "steps": []},
        "cache": False,
    }]  # fmt: skip


def test_goes_on_with_another_batch_size_where_global_batches_are_the_same(companion: Make) -> None:
    fake = companion(count=22)
    positions = [batch.position for batch in open_stream(fake, batch_size=4, world_size=2)]
    for position in positions:
        expected = list(range(min(22, 8 * position["batch_index"]), 22))
        seen = [index for batch in open_stream(fake, batch_size=8, position=position) for index in batch.indices]
        assert seen == expected
    with pytest.raises(cyxcloud.InvalidArgumentError, match="product of both"):
        open_stream(fake, batch_size=5, position=positions[0])
