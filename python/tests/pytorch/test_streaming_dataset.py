"""`cyxcloud.torch` inside the loaders that people use."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import cyxcloud
from cyxcloud import DataStreamClient
from cyxcloud.torch import StreamingDataset
from fake_companion import FakeCompanion

Make = Callable[..., FakeCompanion]
COUNT = 50
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture
def make(companion: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StreamingDataset]:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    fake = companion(count=COUNT)

    def dataset(batch_size: int = 4, **options: Any) -> StreamingDataset:
        client = DataStreamClient(f"unix:{fake.path}", access_token="t")
        return StreamingDataset("fake", batch_size=batch_size, client=client, **options)

    return dataset


def items_of(given: Any) -> list[int]:
    images, labels = given
    assert labels.dtype == torch.int64
    items = images[:, 0].tolist()
    assert labels.tolist() == [item % 3 for item in items]
    return [int(item) for item in items]


def loader(dataset: StreamingDataset, **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=None, **options)


def test_iterates_epochs_and_has_a_length(make: Callable[..., StreamingDataset]) -> None:
    dataset = make()
    assert len(dataset) == 13
    assert len(loader(dataset)) == 13
    for epoch in range(2):
        assert dataset.epoch == epoch
        assert [items_of(given) for given in loader(dataset)] == [
            list(range(i, min(COUNT, i + 4))) for i in range(0, COUNT, 4)
        ]
    assert len(make(drop_last=True)) == 12
    assert len(make(rank=1, world_size=2)) == 7


def test_tensors_are_views_of_the_companions_memory(make: Callable[..., StreamingDataset]) -> None:
    images, _ = next(iter(make()))
    assert images.shape == (4, 4)
    assert images.dtype == torch.uint8
    images += 1
    assert images[1].tolist() == [2] * 4


def test_transform_collate_and_labels(make: Callable[..., StreamingDataset]) -> None:
    images, _ = next(iter(make(transform=lambda each: each.float() / 255)))
    assert images.dtype == torch.float32
    given = next(iter(make(collate=lambda batch: {"paths": batch.paths, "n": len(batch)})))
    assert given == {"paths": tuple(f"class-{i % 3}/{i}.bin" for i in range(4)), "n": 4}
    with pytest.raises(cyxcloud.InvalidArgumentError, match="collate"):
        make(transform=abs, collate=abs)


# Each worker that is spawned imports torch anew: seconds of a core.
@pytest.mark.parametrize(("start", "workers"), [("fork", 1), ("fork", 3), ("spawn", 2)])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_share_the_rank(make: Callable[..., StreamingDataset], start: str, workers: int) -> None:
    ranks = []
    for rank in range(2):
        dataset = make(rank=rank, world_size=2, num_workers=workers, tail="pad")
        ranks.append([items_of(given) for given in loader(dataset, num_workers=workers, multiprocessing_context=start)])
        assert len(ranks[-1]) == len(dataset)
    items = [item for rank in ranks for batch in rank for item in batch]
    assert set(items) == set(range(COUNT))
    assert len(items) == -(-COUNT // (8 * workers)) * 8 * workers


def test_persistent_workers_see_the_epoch_that_is_set(make: Callable[..., StreamingDataset]) -> None:
    dataset = make(collate=lambda batch: (batch.epoch, batch.index))
    loading = loader(dataset, num_workers=2, persistent_workers=True)
    for epoch in (0, 5, 3):
        dataset.set_epoch(epoch)
        assert {given[0] for given in loading} == {epoch}


@pytest.mark.parametrize("begun", range(14))
def test_goes_on_behind_what_was_consumed(make: Callable[..., StreamingDataset], begun: int) -> None:
    whole = [[items_of(given) for given in loader(make(epoch=epoch))] for epoch in range(2)]
    dataset = make()
    iterator = iter(loader(dataset))
    for _ in range(begun):
        next(iterator, None)
    state = json.loads(json.dumps(dataset.state_dict()))
    assert len(json.dumps(state)) < 600

    again = make()
    again.load_state_dict(state)
    assert again.state_dict() == state
    epochs = [[items_of(given) for given in loader(again)] for _ in range(2)]
    assert epochs[0] == whole[0][begun:]
    assert epochs[1] == whole[1]


def test_between_epochs_the_state_is_the_next_ones_beginning(make: Callable[..., StreamingDataset]) -> None:
    dataset = make()
    for _ in loader(dataset):
        pass
    state = dataset.state_dict()
    assert (state["epoch"], state["batch_index"]) == (1, 0)
    again = make(collate=lambda batch: (batch.epoch, batch.index))
    again.load_state_dict(state)
    assert [tuple(given) for given in loader(again)] == [(1, index) for index in range(13)]


def test_set_epoch_keeps_a_state_of_that_epoch_and_drops_any_other(make: Callable[..., StreamingDataset]) -> None:
    dataset = make()
    iterator = iter(dataset)
    next(iterator)
    state = dataset.state_dict()
    for epoch, left in ((0, 12), (1, 13)):
        again = make()
        again.load_state_dict(state)
        again.set_epoch(epoch)
        assert sum(1 for _ in loader(again)) == left


def test_the_state_is_the_same_on_every_rank_and_fits_another_world(make: Callable[..., StreamingDataset]) -> None:
    states, seen = [], []
    for rank in range(3):
        dataset = make(rank=rank, world_size=3, batch_size=2)
        iterator = iter(dataset)
        for _ in range(4):
            seen += items_of(next(iterator))
        states.append(dataset.state_dict())
    assert states[0] == states[1] == states[2]
    assert sorted(seen) == list(range(24))
    for rank in range(2):
        dataset = make(rank=rank, world_size=2, batch_size=2)
        dataset.load_state_dict(states[0])
        seen += [item for given in loader(dataset, num_workers=2 * rank) for item in items_of(given)]
    assert sorted(seen) == list(range(COUNT))


def test_equal_global_batches_go_on_with_another_batch_size(make: Callable[..., StreamingDataset]) -> None:
    dataset = make(batch_size=6, shuffle=False)
    iterator = iter(dataset)
    for _ in range(3):
        next(iterator)
    state = dataset.state_dict()
    ranks = []
    for rank in range(2):
        again = make(batch_size=3, rank=rank, world_size=2)
        again.load_state_dict(state)
        ranks.append([items_of(given) for given in again])
    assert [sorted(a + b) for a, b in zip(*ranks)][:5] == [list(range(i, i + 6)) for i in range(18, 48, 6)]
    for _ in iterator:
        pass
    with pytest.raises(cyxcloud.StateMismatch, match=r"^batch_size"):
        make(batch_size=3).load_state_dict(state)


@pytest.mark.parametrize("taken", [0, 1, 4, 5, 6])
def test_workers_of_a_plain_loader_go_on_where_the_program_says(
    make: Callable[..., StreamingDataset], taken: int
) -> None:
    whole = [items_of(given) for given in loader(make(tail="pad"), num_workers=2)]
    dataset = make(tail="pad")
    iterator = iter(loader(dataset, num_workers=2))
    for _ in range(taken):
        next(iterator)
    state = dataset.state_dict(consumed=taken, num_workers=2)
    again = make(tail="pad")
    again.load_state_dict(state)
    assert [items_of(given) for given in loader(again, num_workers=2)] == whole[taken:]
    further = again.state_dict(consumed=2, num_workers=2)
    assert further["batch_index"] == taken + 2
    if taken % 2:
        alone = make(tail="pad")
        alone.load_state_dict(state)
        with pytest.raises(cyxcloud.StateMismatch, match=r"^num_workers"):
            list(alone)


@pytest.mark.parametrize(
    ("field", "other"),
    [("seed", {"seed": 1}), ("shuffle", {"shuffle": True}), ("batch_size", {"batch_size": 5}), ("tail", {"tail": "pad"}),
     ("filter", {"filter": "a/"}), ("processing", {"processing": {"version": 1, "steps": []}})],
)  # fmt: skip
def test_a_state_of_another_stream_is_refused(
    make: Callable[..., StreamingDataset], field: str, other: dict[str, Any]
) -> None:
    state = make().state_dict()
    with pytest.raises(cyxcloud.StateMismatch, match=f"^{field}: the state was taken with") as caught:
        make(**other).load_state_dict(state)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [({"dataset": "cd" * 32}, "dataset"), ({"version": 2}, "version"), ({"batch_index": -1}, "batch_index"),
     ({"world_size": 0}, "world_size"), ({"epoch": "0"}, "epoch"), ({"worker": 0}, "num_workers")],
)  # fmt: skip
def test_a_state_that_was_changed_is_refused(
    make: Callable[..., StreamingDataset], change: dict[str, Any], field: str
) -> None:
    dataset = make()
    with pytest.raises(cyxcloud.StateMismatch) as caught:
        dataset.load_state_dict({**dataset.state_dict(), **change})
    assert caught.value.field == field


def test_rank_and_world_come_from_the_environment(
    make: Callable[..., StreamingDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(cyxcloud.FailedPreconditionError, match="RANK"):
        _ = make().rank
    monkeypatch.setenv("WORLD_SIZE", "4")
    dataset = make()
    assert (dataset.rank, dataset.world_size) == (1, 4)
    monkeypatch.setenv("RANK", "2")
    assert (dataset.rank, make().rank, make(rank=0, world_size=2).rank) == (1, 2, 0)
    with pytest.raises(cyxcloud.InvalidArgumentError, match="come together"):
        make(rank=0)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_rank_and_world_come_from_torch_distributed(make: Callable[..., StreamingDataset], tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        os.environ["RANK"], os.environ["WORLD_SIZE"] = "3", "4"
        dataset = make()
        assert (dataset.rank, dataset.world_size) == (0, 1)
        assert pickle.loads(pickle.dumps(dataset))._given == (0, 1)
    finally:
        torch.distributed.destroy_process_group()
        del os.environ["RANK"], os.environ["WORLD_SIZE"]


def test_items_that_do_not_decode(companion: Make) -> None:
    fake = companion(count=12, undecodable=5)
    client = DataStreamClient(f"unix:{fake.path}", access_token="t")
    for on_error, match in (("skip", None), ("warn", "item 5")):
        dataset = StreamingDataset("fake", batch_size=4, client=client, on_error=on_error)
        if match is None:
            given = [len(images) for images, _ in dataset]
        else:
            with pytest.warns(RuntimeWarning, match=match):
                given = [len(images) for images, _ in dataset]
        assert given == [4, 3, 4]
    alone = StreamingDataset("fake", batch_size=1, client=client, on_error="skip")
    assert sum(1 for _ in alone) == 11
    assert alone.state_dict()["epoch"] == 1


def test_who_collects_more_batches_than_there_are_is_told(
    make: Callable[..., StreamingDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyxcloud.handoff.HELD_PATIENCE_S", 0.05)
    with pytest.raises(cyxcloud.ResourceExhaustedError, match=r"holds 4 of 4 batches.*more slots"):
        list(make())
    assert len(list(make(slots=16))) == 13


def test_errors_of_workers_keep_their_class(make: Callable[..., StreamingDataset]) -> None:
    with pytest.raises(cyxcloud.InvalidArgumentError, match="num_workers: is 3"):
        list(loader(make(num_workers=3), num_workers=2))
