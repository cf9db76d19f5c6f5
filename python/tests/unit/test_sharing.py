"""How workers share a rank's batches: each item once, whoever goes on wherever."""

from __future__ import annotations

import random

import pytest

from cyxcloud import StateMismatch
from cyxcloud.direct.plan import BatchPlan
from cyxcloud.position import next_item
from cyxcloud.sharing import Share, Standing, batches_of_epoch


def batches_of(share: Share, count: int, tail: str) -> list[list[int]]:
    """What a stream sends that begins at the share's position, by the rules of docs/streams.md."""
    position = share.position
    start, first = position["start_index"], position["batch_index"]
    if position["world_size"] != share.world_size:
        start, first = min(count, next_item(position)), 0
    plan = BatchPlan(count, position["batch_size"], share.world_size, share.rank, start, tail)
    return [plan.positions(index)[0] for index in range(first, plan.total_batches)]


def loader(begun: Standing, count: int, tail: str, rank: int, world_size: int, workers: int) -> list[list[int]]:
    """As a DataLoader takes turns."""
    lanes = [iter(batches_of(begun.share(rank, world_size, w, workers), count, tail)) for w in range(workers)]
    given = []
    while lanes:
        for lane in list(lanes):
            batch = next(lane, None)
            if batch is None:
                lanes.remove(lane)
            else:
                given.append(batch)
    return given


@pytest.mark.parametrize("tail", ["short", "drop_last", "pad"])
@pytest.mark.parametrize("seed", range(60))
def test_each_item_comes_once_over_any_changes_of_world_and_workers(seed: int, tail: str) -> None:
    generator = random.Random(seed)
    count, batch_size = generator.randint(1, 300), generator.randint(1, 5)
    world_size, workers = generator.randint(1, 3), generator.randint(1, 3)
    begun = Standing(0, 0, 0, world_size, workers, batch_size)
    seen: list[int] = []
    for _ in range(3):
        ranks = [loader(begun, count, tail, rank, world_size, workers) for rank in range(world_size)]
        fewest = min(map(len, ranks))
        if tail != "short":
            assert {len(rank) for rank in ranks} == {fewest}
        # All ranks stop after equally many batches, here and there within a round.
        taken = generator.randint(0, fewest) if tail == "short" else min(fewest, generator.randint(0, 12))
        into_round = begun.after(taken, world_size, workers).batch_index % workers
        if generator.random() < 0.7 and taken >= into_round:
            taken, into_round = taken - into_round, 0
        seen += [index for rank in ranks for batch in rank[:taken] for index in batch]
        begun = begun.after(taken, world_size, workers)
        if into_round == 0:
            world_size, workers = generator.randint(1, 3), generator.randint(1, 3)
    rest = [loader(begun, count, tail, rank, world_size, workers) for rank in range(world_size)]
    seen += [index for rank in rest for batch in rank for index in batch]
    if tail == "pad":
        assert set(seen) == set(range(count))
    elif tail == "short":
        assert sorted(seen) == list(range(count))
    else:
        assert len(seen) == len(set(seen))
        assert sorted(seen) == list(range(len(seen)))


def test_going_on_inside_a_round_gives_the_same_sequence() -> None:
    begun = Standing(0, 0, 0, 2, 3, 4)
    whole = loader(begun, 240, "drop_last", 1, 2, 3)
    assert len(whole) == 30
    for taken in range(len(whole)):
        assert loader(begun.after(taken, 2, 3), 240, "drop_last", 1, 2, 3) == whole[taken:]


@pytest.mark.parametrize(("world_size", "workers", "field"), [(1, 3, "world_size"), (2, 2, "num_workers")])
def test_another_world_inside_a_round_is_refused(world_size: int, workers: int, field: str) -> None:
    begun = Standing(0, 0, 4, 2, 3, 4)
    with pytest.raises(StateMismatch, match=rf"^{field}") as caught:
        begun.share(0, world_size, 0, workers)
    assert caught.value.field == field


def test_length_counts_all_workers() -> None:
    assert batches_of_epoch(100, 8, 0, 1, 1, "short") == 13
    assert batches_of_epoch(100, 8, 0, 1, 4, "short") == 16
    assert batches_of_epoch(100, 8, 1, 2, 1, "drop_last") == 6
