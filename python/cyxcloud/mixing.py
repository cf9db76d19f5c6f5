"""Several streams mixed by whole weights, batch by batch: docs/streams.md, "Mixing streams"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from .batch import Batch
from .errors import invalid_argument
from .position import StreamPosition, next_item, position_of

if TYPE_CHECKING:
    from .client import PreparedStream
    from .iterator import BatchIterator

STREAMS_MAX = 64
CYCLE_MAX = 65_536


class Mixing:
    """
    Which stream each batch of a mixture is of, by Tijdeman's chairman assignment: among the first k batches, for every k, a
    stream has its exact share rounded down or up. Repeats every `cycle` batches.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        if not 1 <= len(weights) <= STREAMS_MAX:
            raise invalid_argument("weights", f"must be 1 to {STREAMS_MAX}, not {len(weights)}.", limit=STREAMS_MAX)
        for weight in weights:
            if not isinstance(weight, int) or isinstance(weight, bool) or weight < 1:
                raise invalid_argument("weights", f"must be positive whole numbers, not {weight!r}.")
        divisor = math.gcd(*weights)
        self.per_cycle = [weight // divisor for weight in weights]
        self.cycle = sum(self.per_cycle)
        if self.cycle > CYCLE_MAX:
            raise invalid_argument(
                "weights",
                f"their sum, without the common divisor, must be at most {CYCLE_MAX}, not {self.cycle}.",
                limit=CYCLE_MAX,
            )
        self._places: list[tuple[int, int]] = []
        self._positions: list[list[int]] = [[] for _ in weights]
        for position in range(self.cycle):
            source = self._due(position)
            self._places.append((source, len(self._positions[source])))
            self._positions[source].append(position)

    def at(self, position: int) -> tuple[int, int]:
        """The stream of a position, and how manieth of its batches that is."""
        cycles, within = divmod(position, self.cycle)
        source, index = self._places[within]
        return source, cycles * self.per_cycle[source] + index

    def position_of(self, source: int, index: int) -> int:
        """Where a stream's batch stands: the inverse of `at`."""
        cycles, within = divmod(index, self.per_cycle[source])
        return cycles * self.cycle + self._positions[source][within]

    def count_before(self, source: int, position: int) -> int:
        """How many of a stream's batches stand before a position."""
        cycles, within = divmod(position, self.cycle)
        weight = self.per_cycle[source]
        # Never a whole batch off: it is one of two numbers, and the position of the lower one's batch tells which.
        low = within * weight // self.cycle
        more = low < weight and self._positions[source][low] < within
        return cycles * weight + low + more

    def _due(self, position: int) -> int:
        """Of the batches that may come here, the one that must come first."""
        candidates = []
        for source, weight in enumerate(self.per_cycle):
            index = len(self._positions[source])
            begin = index * self.cycle // weight
            if index < weight and begin <= position:
                candidates.append((-(-(index + 1) * self.cycle // weight), begin, source))
        return min(candidates)[2]


class MixPosition(TypedDict):
    """Where the consumer of a mixture stands: small, JSON, and enough to go on at any world size."""

    position: int
    """Batches of the mixture that came before."""
    weights: list[int]
    streams: list[StreamPosition]
    """Where each stream stands, in the order of the weights."""


@dataclass(frozen=True)
class MixturePlace:
    """A batch's place in the mixture that gave it."""

    stream: int
    index: int
    """From 0 on, however often the mixture went on."""
    total_batches: int
    """Where the mixture ends: the index of its last batch, plus 1."""
    position: MixPosition
    """A mixture that starts here gives the batch after this one."""

    @property
    def is_last(self) -> bool:
        return self.index == self.total_batches - 1


@dataclass(frozen=True)
class _Source:
    """A stream as the mixture finds it."""

    prepared: PreparedStream
    position: StreamPosition
    per_epoch: int
    left_in_epoch: int
    left: int
    """In all its epochs; below 0 for a stream that was repeated."""


class Mixture:
    """Batches of several streams one after the other; each says in `Batch.mixture` which it is of. Made by `mix`."""

    def __init__(
        self,
        streams: Sequence[PreparedStream],
        weights: Sequence[int],
        exhausted: str,
        position: Mapping[str, Any] | None,
    ) -> None:
        if len(streams) != len(weights):
            raise invalid_argument("weights", f"must be as many as there are streams, {len(streams)}.")
        if exhausted not in ("stop", "repeat"):
            raise invalid_argument("exhausted", f"must be stop or repeat, not {exhausted!r}.")
        self._weights = list(weights)
        self._mixing = Mixing(self._weights)
        self._check_world(streams)
        given = _checked(position, self._weights)
        self._first = self._next = given["position"] if given else 0
        sources = [_source_of(each, given["streams"][i] if given else None) for i, each in enumerate(streams)]
        self._end = self._end_of(sources, exhausted)
        self._positions = [source.position for source in sources]
        self._current: Batch | None = None
        self._iterators: list[BatchIterator | None] = [None] * len(sources)
        try:
            for i, source in enumerate(sources):
                self._iterators[i] = self._opened(i, source)
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> MixPosition:
        """Behind the last batch that was given."""
        return MixPosition(position=self._next, weights=self._weights, streams=list(self._positions))

    def __len__(self) -> int:
        """Batches from where it began to where it ends."""
        return self._end - self._first

    def __iter__(self) -> Mixture:
        return self

    def __next__(self) -> Batch:
        last, self._current = self._current, None
        if last is not None:
            last._pass()
        if self._next >= self._end:
            self.close()
            raise StopIteration
        source, _ = self._mixing.at(self._next)
        iterator = self._iterators[source]
        if iterator is None:
            raise StopIteration
        batch = next(iterator)
        index, self._next = self._next, self._next + 1
        self._positions[source] = batch.position
        batch.mixture = MixturePlace(source, index, self._end, self.position)
        self._current = batch
        return batch

    def close(self) -> None:
        self._end = self._next
        for i, iterator in enumerate(self._iterators):
            self._iterators[i] = None
            if iterator is not None:
                iterator.close()

    def __enter__(self) -> Mixture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_of(self, sources: Sequence[_Source], exhausted: str) -> int:
        def place(i: int, batches: int) -> int:
            return self._mixing.position_of(i, self._mixing.count_before(i, self._first) + batches)

        if exhausted == "stop":
            return min(place(i, max(0, source.left)) for i, source in enumerate(sources))
        ends = [place(i, source.left - 1) + 1 for i, source in enumerate(sources) if source.left > 0]
        return max([self._first, *ends])

    def _opened(self, i: int, source: _Source) -> BatchIterator | None:
        before, end = self._mixing.count_before(i, self._first), self._mixing.count_before(i, self._end)
        batches = end - before
        if batches == 0:
            return None
        epochs = 1 + -(-max(0, batches - source.left_in_epoch) // source.per_epoch)
        return source.prepared.open(position=source.position, epochs=epochs)

    @staticmethod
    def _check_world(streams: Sequence[PreparedStream]) -> None:
        """Ranks stay in step only if each of them has the same batches of every stream."""
        one = streams[0].options
        for each in streams:
            if (each.options.rank, each.options.world_size) != (one.rank, one.world_size):
                raise invalid_argument("world_size", "and rank must be the same for all streams of a mixture.")
            if one.world_size > 1 and each.options.tail == "short":
                raise invalid_argument(
                    "tail",
                    'must be "drop_last" or "pad" where several ranks mix streams: with "short" some have a batch more '
                    "than others.",
                )


def mix(
    streams: Sequence[PreparedStream],
    weights: Sequence[int],
    *,
    exhausted: str = "stop",
    position: Mapping[str, Any] | None = None,
) -> Mixture:
    """
    Mixes streams by whole weights. A batch is always of one stream; which one follows from its index and the weights alone, so
    ranks stay in step without a word between them::

        mixture = cyxcloud.mix([client.prepare("web", token, 32), client.prepare("books", other, 32)], weights=[3, 1])

    :param streams: from `DataStreamClient.prepare`; their ``epoch`` and ``epochs`` count from the beginning of the mixture,
        also where it goes on at a position.
    :param exhausted: ``"stop"`` ends where a stream is needed that has come to the end of its epochs; ``"repeat"`` goes on with
        further epochs of it, until each stream has been through its own.
    :param position: `Mixture.position`, or of a batch's `mixture`, of an earlier run with the same weights.
    """
    return Mixture(streams, weights, exhausted, position)


def _source_of(prepared: PreparedStream, given: StreamPosition | None) -> _Source:
    options = prepared.options
    position = given or StreamPosition(
        epoch=options.epoch, start_index=0, batch_index=0, world_size=options.world_size, batch_size=options.batch_size
    )
    described = prepared.describe(position=position)
    per_epoch = described["batches_per_epoch"]
    if per_epoch == 0:
        raise invalid_argument("batch_size", f"leaves no batch of {options.dataset_id} to mix: its epochs are shorter.")
    left_in_epoch = described["total_batches"] if next_item(position) < described["count"] else 0
    left = left_in_epoch + (options.epoch + options.epochs - 1 - position["epoch"]) * per_epoch
    return _Source(prepared, position, per_epoch, left_in_epoch, left)


def _checked(position: Mapping[str, Any] | None, weights: Sequence[int]) -> MixPosition | None:
    if position is None:
        return None
    number, streams = position.get("position"), position.get("streams")
    valid = isinstance(number, int) and number >= 0 and isinstance(streams, Sequence) and len(streams) == len(weights)
    if not valid or number is None or streams is None:
        raise invalid_argument("position", f"is no position of a mixture of {len(weights)} streams.")
    if list(position.get("weights") or []) != list(weights):
        raise invalid_argument(
            "position", f"was taken with the weights {position.get('weights')}; this mixture has {list(weights)}."
        )
    return MixPosition(position=number, weights=list(weights), streams=[position_of(each) for each in streams])
