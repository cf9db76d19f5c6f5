"""What a caller asks of a stream, checked once for every way to fetch it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from .errors import invalid_argument
from .position import StreamPosition, fits_batches, position_of


@dataclass(frozen=True)
class ItemError:
    """An item that was left out of its batch because it could not be decoded."""

    index: int
    """In the manifest."""
    path: str
    message: str


OnError = Union[str, Callable[[ItemError], Any]]

ON_ERROR = ("raise", "skip", "warn")
SHUFFLES = ("sequential", "full", "block")
TAILS = ("short", "drop_last", "pad")
FRAMEWORKS = ("torch", "numpy", "memoryview")
EPOCH_MAX = 2**32 - 1


@dataclass(frozen=True)
class StreamOptions:
    """The options of `DataStreamClient.stream_batches`, which documents them, in one spelling."""

    dataset_id: str
    access_token: str
    batch_size: int
    prefetch_batches: int | None
    max_trust_level: int
    shuffle: str
    seed: int
    block: Mapping[str, int] | None
    epoch: int
    epochs: int
    rank: int
    world_size: int
    tail: str
    filter: Mapping[str, Any] | None
    processing: Mapping[str, Any] | None
    on_error: OnError
    position: StreamPosition | None
    stream_id: str | None
    cache: bool | None
    slots: int | None
    backend: str | None
    schema_hash: str | None
    known_keys: str | None
    framework: str | None
    device: str | None


def stream_options(
    *,
    dataset_id: str,
    access_token: str | None,
    batch_size: int,
    prefetch_batches: int | None,
    max_trust_level: int,
    shuffle: bool | str,
    seed: int,
    block: Mapping[str, int] | None,
    epoch: int | None,
    epochs: int,
    rank: int,
    world_size: int,
    drop_last: bool,
    tail: str | None,
    filter: str | Sequence[str] | Mapping[str, Any] | None,  # noqa: A002 - the caller's word
    processing: Mapping[str, Any] | None,
    on_error: OnError,
    position: Mapping[str, Any] | None,
    stream_id: str | None,
    cache: bool | None,
    slots: int | None,
    backend: str | None,
    schema_hash: str | None,
    known_keys: str | None,
    framework: str | None,
    device: Any,
) -> StreamOptions:
    """
    :raises InvalidArgumentError: naming the field and its limit.
    """
    if not isinstance(dataset_id, str) or not dataset_id:
        raise invalid_argument("dataset_id", "must be a UUID, name, owner/name, name@version or name@blake3:HEX.")
    if not isinstance(access_token, str) or not access_token:
        raise invalid_argument(
            "access_token",
            "is missing: pass it, or set CYXCLOUD_ACCESS_TOKEN (cyxcloud dataset token NAME makes one).",
        )
    if drop_last and tail not in (None, "drop_last"):
        raise invalid_argument("drop_last", f'is short for tail="drop_last"; tail is {tail!r}.')
    whole_epoch = _whole("epoch", 0 if epoch is None else epoch, 0, EPOCH_MAX)
    stands = None if position is None else position_of(position)
    first = stands["epoch"] if stands else whole_epoch
    world = _whole("world_size", world_size, 1, 65_536)
    size = _whole("batch_size", batch_size, 1, 65_536)
    if stands is not None and not fits_batches(stands, size, world):
        raise invalid_argument(
            "position",
            f"was taken with batch_size {stands['batch_size']} and world_size {stands['world_size']}; this stream has {size} "
            f"and {world}. Keep the batch size, or the product of both.",
        )
    return StreamOptions(
        dataset_id=dataset_id,
        access_token=access_token,
        batch_size=size,
        prefetch_batches=None if prefetch_batches is None else _whole("prefetch_batches", prefetch_batches, 1, 1024),
        max_trust_level=_whole("max_trust_level", max_trust_level, 0, 4),
        shuffle=_shuffle(shuffle),
        seed=_whole("seed", seed, -(2**63), 2**64 - 1),
        block=_block(block),
        epoch=first,
        epochs=_whole("epochs", epochs, 1, EPOCH_MAX + 1 - first),
        rank=_whole("rank", rank, 0, world - 1),
        world_size=world,
        tail=_one_of("tail", "drop_last" if drop_last else tail or "short", TAILS),
        filter=_filter(filter),
        processing=processing,
        on_error=on_error if callable(on_error) else _one_of("on_error", on_error, ON_ERROR),
        position=stands,
        stream_id=stream_id,
        cache=cache,
        slots=None if slots is None else _whole("slots", slots, 2, 1024),
        backend=backend,
        schema_hash=schema_hash,
        known_keys=known_keys,
        framework=None if framework is None else _one_of("framework", framework, FRAMEWORKS),
        device=None if device is None else str(device),
    )


def _shuffle(shuffle: bool | str) -> str:
    if shuffle is True:
        return "full"
    if shuffle is False or shuffle is None:
        return "sequential"
    return _one_of("shuffle", shuffle, SHUFFLES)


def _block(block: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if block is None:
        return None
    known = ("block_size", "lanes", "blocks_per_group")
    for name in block:
        _one_of("block", name, known)
    return {name: _whole(name, value, 1, 1 << 24) for name, value in block.items()}


def _filter(value: str | Sequence[str] | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A text is a prefix, or a glob where it has wildcards; a list is one of globs."""
    if value is None:
        return None
    if isinstance(value, str):
        value = {"globs": [value]} if any(each in value for each in "*?[{\\") else {"prefix": value}
    elif not isinstance(value, Mapping):
        value = {"globs": list(value)}
    for name in value:
        _one_of("filter", name, ("prefix", "globs"))
    prefix, globs = value.get("prefix"), value.get("globs")
    if not (prefix is None or isinstance(prefix, str)):
        raise invalid_argument("filter.prefix", "must be a text.")
    if isinstance(globs, str):
        globs = [globs]
    if not (globs is None or all(isinstance(glob, str) for glob in globs)):
        raise invalid_argument("filter.globs", "must be texts.")
    # As on the wire: an empty prefix or list of globs is none.
    kept = {"prefix": prefix or None, "globs": list(globs) if globs else None}
    return {name: each for name, each in kept.items() if each} or None


def _whole(field: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise invalid_argument(field, f"must be a whole number from {least} to {most}, not {value!r}.", limit=most)
    return number


def _one_of(field: str, value: Any, known: Sequence[str]) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise invalid_argument(field, f"must be one of {', '.join(known)}, not {value!r}.")
