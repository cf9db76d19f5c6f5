"""
How positions of an epoch become batches of ranks: global batch g covers positions start + g·b·w to start + (g+1)·b·w, and
rank r takes every w-th of them, beginning with the r-th. Batch indices count from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import invalid_argument

BATCH_MAX_ITEMS = 65_536
WORLD_SIZE_MAX = 65_536
TAILS = ("short", "drop_last", "pad")


@dataclass(frozen=True)
class BatchPlan:
    """The batches of one rank from a start to the end of an epoch."""

    count: int
    """Positions of the epoch."""
    batch_size: int
    """Items of one rank's batch."""
    world_size: int
    rank: int
    start: int
    """Position where batch 0 begins, the same for all ranks."""
    tail: str
    """``short``, ``drop_last`` or ``pad``: what happens where the items do not fill every rank's batch."""

    def check(self) -> None:
        _whole("batch_size", self.batch_size, 1, BATCH_MAX_ITEMS)
        _whole("world_size", self.world_size, 1, WORLD_SIZE_MAX)
        if not 0 <= self.rank < self.world_size:
            raise invalid_argument(
                "rank",
                f"must be from 0 to {self.world_size - 1} for world_size {self.world_size}, not {self.rank}.",
                limit=self.world_size - 1,
            )
        _whole("start_index", self.start, 0, self.count)
        if self.tail not in TAILS:
            raise invalid_argument("tail", f"must be one of short, drop_last and pad, not {self.tail}.")

    @property
    def total_batches(self) -> int:
        remaining = self.count - self.start
        per_global_batch = self.batch_size * self.world_size
        if self.tail == "drop_last":
            return remaining // per_global_batch
        if self.tail == "pad":
            return -(-remaining // per_global_batch)
        mine = -(-max(0, remaining - self.rank) // self.world_size)
        return -(-mine // self.batch_size)

    def positions(self, index: int) -> tuple[list[int], int]:
        """Positions of a batch in the order they are sent, and how many at its end are repetitions."""
        if not 0 <= index < self.total_batches:
            raise IndexError(f"The plan has {self.total_batches} batches; there is no batch {index}.")
        first = self.start + index * self.batch_size * self.world_size + self.rank
        every = range(first, first + self.batch_size * self.world_size, self.world_size)
        inside = [position for position in every if position < self.count]
        if self.tail != "pad":
            return inside, 0
        padding = [position % self.count for position in every if position >= self.count]
        return inside + padding, len(padding)


def _whole(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise invalid_argument(field, f"must be a whole number from {least} to {most}, not {value}.", limit=most)
