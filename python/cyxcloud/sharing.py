"""
How the workers of a rank share its batches.

Each worker is a rank of its own in a larger world: worker k of W of rank r in a world of w is rank k·w + r of w·W. A round of W
batches, one of each worker, then covers exactly the items that W batches without workers would, so each item comes once
for any number of workers, and after each round any other number can go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .direct.plan import BatchPlan
from .errors import StateMismatch
from .position import StreamPosition


@dataclass(frozen=True)
class Share:
    """What one worker streams."""

    rank: int
    world_size: int
    part: int
    """Which of the rank's sub-streams; the loader's worker 0 has the one whose turn it is."""
    position: StreamPosition


@dataclass(frozen=True)
class Standing:
    """Where a rank stands in an epoch, whichever of its workers did what."""

    epoch: int
    start_index: int
    batch_index: int
    """Batches that the rank has had since `start_index`, over all its workers."""
    world_size: int
    num_workers: int
    """At least 1."""
    batch_size: int

    def share(self, rank: int, world_size: int, worker: int, num_workers: int) -> Share:
        """
        What a worker streams whose loader goes on here.

        :raises StateMismatch: in the middle of a round, for another world or number of workers.
        """
        rounds, into_round = divmod(self.batch_index, self.num_workers)
        if into_round:
            self._same("world_size", self.world_size, world_size, into_round)
            self._same("num_workers", self.num_workers, num_workers, into_round)
        part = (worker + into_round) % num_workers
        position = StreamPosition(
            epoch=self.epoch,
            start_index=self.start_index,
            batch_index=rounds + (part < into_round),
            world_size=self.world_size * self.num_workers,
            batch_size=self.batch_size,
        )
        return Share(part * world_size + rank, world_size * num_workers, part, position)

    def after(self, batches: int, world_size: int, num_workers: int) -> Standing:
        """Where the rank stands when a loader that went on here has given so many batches."""
        if (world_size, num_workers) == (self.world_size, self.num_workers):
            return replace(self, batch_index=self.batch_index + batches)
        rounds = self.batch_index // self.num_workers
        start = self.start_index + rounds * self.batch_size * self.world_size * self.num_workers
        return Standing(self.epoch, start, batches, world_size, num_workers, self.batch_size)

    def json(self) -> dict[str, int]:
        return asdict(self)

    def _same(self, field: str, taken: int, now: int, into_round: int) -> None:
        if taken != now:
            raise StateMismatch(
                f"{field}: the state was taken {into_round} batches into a round of {self.num_workers} workers, which only "
                f"{taken} can end, not {now}. Take it after a multiple of {self.num_workers} batches to go on with another.",
                {"field": field, "expected": taken, "actual": now},
            )


def standing_of(state: Mapping[str, Any]) -> Standing:
    """
    :raises StateMismatch: for what is no state.
    """
    least = {"epoch": 0, "start_index": 0, "batch_index": 0, "world_size": 1, "num_workers": 1, "batch_size": 1}
    for field, minimum in least.items():
        value = state.get(field)
        if not isinstance(value, int) or value < minimum:
            raise StateMismatch(f"{field}: {value!r} is in no state of this package.", {"field": field})
    return Standing(**{field: state[field] for field in least})


def batches_of_epoch(count: int, batch_size: int, rank: int, world_size: int, num_workers: int, tail: str) -> int:
    """Batches that a rank's loader gives in a whole epoch."""
    return sum(
        BatchPlan(count, batch_size, world_size * num_workers, part * world_size + rank, 0, tail).total_batches
        for part in range(num_workers)
    )
