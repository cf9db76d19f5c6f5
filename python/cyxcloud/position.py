"""Where a consumer stands in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from .errors import invalid_argument


class StreamPosition(TypedDict):
    """Small, JSON, and enough to go on at any world size. Store it with the model."""

    epoch: int
    start_index: int
    """Position in the epoch's order where batch 0 of the segment begins."""
    batch_index: int
    """The next batch, counted from ``start_index``."""
    world_size: int
    batch_size: int


FIELDS = ("epoch", "start_index", "batch_index", "world_size", "batch_size")


def position_of(value: Mapping[str, Any]) -> StreamPosition:
    """
    :raises InvalidArgumentError: for a mapping that is no position.
    """
    for field in FIELDS:
        number = value.get(field)
        least = 1 if field in ("world_size", "batch_size") else 0
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise invalid_argument("position", f"{field} must be a whole number of at least {least}, not {number!r}.")
    return StreamPosition(
        epoch=value["epoch"],
        start_index=value["start_index"],
        batch_index=value["batch_index"],
        world_size=value["world_size"],
        batch_size=value["batch_size"],
    )


def next_item(position: StreamPosition) -> int:
    """Position of the epoch's order at which the next global batch begins; may lie past the end, after a short batch."""
    return position["start_index"] + position["batch_index"] * position["batch_size"] * position["world_size"]


def fits_batches(position: StreamPosition, batch_size: int, world_size: int) -> bool:
    """Whether a stream of these may go on there: with the same batches for each rank, or the same for all ranks together."""
    same_global = position["batch_size"] * position["world_size"] == batch_size * world_size
    return position["batch_size"] == batch_size or same_global
