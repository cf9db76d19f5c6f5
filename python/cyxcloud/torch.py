"""Streams as a PyTorch dataset, for `DataLoader` and torchdata's `StatefulDataLoader`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from .batch import Batch
from .client import DataStreamClient
from .errors import FailedPreconditionError, StateMismatch, invalid_argument
from .iterator import BatchIterator
from .options import OnError
from .position import StreamPosition, next_item
from .sharing import Share, Standing, batches_of_epoch, standing_of

STATE_VERSION = 1


class StreamingDataset(IterableDataset):  # type: ignore[misc]
    """
    Verified batches as tensors. It makes the batches itself, so the loader must not::

        dataset = StreamingDataset("my-dataset", token, batch_size=32, shuffle=True)
        loader = DataLoader(dataset, batch_size=None)
        for epoch in range(3):
            dataset.set_epoch(epoch)
            for images, labels in loader:
                ...

    The companion receives, verifies and decodes ahead by itself, so ``num_workers=0`` is usually fastest. More workers help
    where ``transform`` is slow: they share the rank's stream, each item still comes once (see `cyxcloud.sharing`).

    **Epochs.** `set_epoch` says which epoch the next iteration streams. Without it, each iteration in this process streams the
    epoch after the last one; workers always stream the one that was set.

    **State.** `state_dict` is small, JSON, the same on every rank, and counts what the consumer was given. `load_state_dict`
    makes the next iteration go on behind it, exactly, also at another world size. A plain `DataLoader` with workers does not
    tell this object what was consumed: pass it, ``state_dict(consumed=batches_of_this_iteration, num_workers=4)``, or use a
    `StatefulDataLoader`.

    :param dataset_id: and what is not listed here: as in `DataStreamClient.stream_batches`.
    :param batch_size: items of a batch, for each rank.
    :param client: default: one for ``address`` and ``gateway``.
    :param rank: and ``world_size``: default from `torch.distributed` where it is initialised, else from the environment's
        ``RANK`` and ``WORLD_SIZE``, else a world of one.
    :param transform: applied to each batch's tensor; the labels stay as they are.
    :param collate: makes what is given of a `Batch`, in place of ``(tensor, labels)``, or the tensor where there are no
        labels.
    :param num_workers: of the loader, where it has any; for `__len__`, and compared with what the loader says.
    """

    def __init__(
        self,
        dataset_id: str,
        access_token: str | None = None,
        batch_size: int = 32,
        *,
        client: DataStreamClient | None = None,
        address: str | None = None,
        gateway: str | None = None,
        shuffle: bool | str = False,
        seed: int = 0,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        tail: str | None = None,
        filter: str | Sequence[str] | Mapping[str, Any] | None = None,  # noqa: A002
        processing: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        transform: Callable[[Any], Any] | None = None,
        collate: Callable[[Batch], Any] | None = None,
        num_workers: int = 0,
        progress: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if (rank is None) != (world_size is None):
            raise invalid_argument("rank", "and world_size come together, or not at all.")
        if transform is not None and collate is not None:
            raise invalid_argument("collate", "takes the place of transform; give one of them.")
        self._client = client or DataStreamClient(address, gateway=gateway)
        self._asked: dict[str, Any] = {
            "dataset_id": dataset_id,
            "access_token": access_token,
            "batch_size": batch_size,
            "shuffle": shuffle,
            "seed": seed,
            "tail": "drop_last" if drop_last and tail is None else tail,
            "drop_last": drop_last,
            "filter": filter,
            "processing": processing,
            "on_error": on_error,
            "framework": "torch",
            **options,
        }
        # Checks the options, before a worker does.
        self._options = self._client.prepare(**self._asked).options
        self.transform = transform
        self.collate = collate
        self.num_workers = num_workers
        self._progress = progress
        self._given = None if rank is None or world_size is None else (rank, world_size)
        self._described: Mapping[str, Any] | None = None
        # In shared memory, so that workers that live on see what is set.
        self._next_epoch = torch.tensor([epoch], dtype=torch.int64).share_memory_()
        self._resume: _Place | None = None
        self._running: _Cursor | None = None

    @property
    def epoch(self) -> int:
        """That the next iteration streams."""
        return int(self._next_epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """The next iteration streams this epoch, from its beginning unless a state of this very epoch was loaded."""
        if epoch < 0:
            raise invalid_argument("epoch", f"must be a whole number from 0 on, not {epoch}.")
        if self._resume is not None and self._resume.standing.epoch != epoch:
            self._resume = None
        self._running = None
        self._next_epoch[0] = epoch

    @property
    def rank(self) -> int:
        return self._placement()[0]

    @property
    def world_size(self) -> int:
        return self._placement()[1]

    @property
    def description(self) -> Mapping[str, Any]:
        """``dataset``, ``count`` of items, ``format``… as a companion describes the stream. Asks it the first time."""
        if self._described is None:
            rank, world_size = self._placement()
            asked = {**self._asked, "rank": rank, "world_size": world_size, "on_error": "raise"}
            self._described = self._client.prepare(**asked).describe()
        return self._described

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        rank, world_size = self._placement()
        size, tail = self._options.batch_size, self._options.tail
        return batches_of_epoch(self.description["count"], size, rank, world_size, max(1, self.num_workers), tail)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None and self.num_workers not in (0, worker.num_workers):
            raise invalid_argument(
                "num_workers", f"is {self.num_workers}, but the loader has {worker.num_workers} workers."
            )
        epoch = self.epoch
        resume, self._resume = self._resume, None
        if resume is None or resume.standing.epoch != epoch:
            resume = _Place(self._beginning(epoch))
        if worker is None:
            self._next_epoch[0] = epoch + 1
        iteration = _Epoch(self, resume)
        # The place alone: the iteration refers to this object already, and what refers to each other is freed late.
        self._running = iteration.cursor
        return iteration

    def _open(self, share: Share) -> BatchIterator:
        asked = {**self._asked, "rank": share.rank, "world_size": share.world_size}
        return self._client.prepare(**asked).open(position=share.position, progress=self._progress)

    def state_dict(self, consumed: int | None = None, num_workers: int = 0) -> dict[str, Any]:
        """
        What `load_state_dict` needs to go on behind the last batch that was given.

        :param consumed: batches that the program took of the loader in this iteration, where a loader with workers hides
            them from this object; ``num_workers`` are the loader's then.
        """
        options = self._options
        if consumed is None:
            place = self._place()
        else:
            begun = self._resume.standing if self._resume is not None else self._beginning(self.epoch)
            place = _Place(begun.after(consumed, self.world_size, max(1, num_workers)))
        state = {
            "version": STATE_VERSION,
            "dataset": self.description["dataset"]["content_hash"],
            **place.standing.json(),
            "shuffle": options.shuffle,
            "seed": options.seed,
            "block": None if options.block is None else dict(options.block),
            "tail": options.tail,
            "filter": None if options.filter is None else dict(options.filter),
            "processing": None if options.processing is None else dict(options.processing),
        }
        # Only a StatefulDataLoader sees this: it asks each worker for its own.
        return state if place.part is None else {**state, "worker": place.part}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        The next iteration goes on where the state was taken.

        :raises StateMismatch: naming the field in which the state belongs to another stream.
        """
        own = self.state_dict()
        state = self._rebatched(state)
        for field in ("version", "dataset", "batch_size", "shuffle", "seed", "block", "tail", "filter", "processing"):
            _same(field, state.get(field), own[field])
        place = _Place(standing_of(state), state.get("worker"))
        if place.part is not None:
            worker = get_worker_info()
            _same("num_workers", place.part + 1, min(place.part + 1, 0 if worker is None else worker.num_workers))
            _same(
                "world_size", place.standing.world_size, self.world_size * (0 if worker is None else worker.num_workers)
            )
        self._resume = place
        self._running = None
        self._next_epoch[0] = place.standing.epoch

    def _rebatched(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Another batch size fits where all ranks together have the same: then the global batches are the same, too."""
        standing = standing_of(state)
        now = (self._options.batch_size, self.world_size)
        same_global = standing.batch_size * standing.world_size == now[0] * now[1]
        if standing.batch_size == now[0] or not same_global or standing.batch_index % standing.num_workers:
            return state
        start = next_item(standing.share(0, standing.world_size, 0, standing.num_workers).position)
        start = min(start, self.description["count"])
        return {**state, **Standing(standing.epoch, start, 0, now[1], 1, now[0]).json()}

    def _place(self) -> _Place:
        return self._running.place if self._running is not None else self._resume or _Place(self._beginning(self.epoch))

    def _beginning(self, epoch: int) -> Standing:
        return Standing(epoch, 0, 0, self.world_size, 1, self._options.batch_size)

    def _placement(self) -> tuple[int, int]:
        if self._given is None:
            self._given = _rank_and_world()
        return self._given

    def _collated(self, batch: Batch) -> Any:
        if self.collate is not None:
            return self.collate(batch)
        tensor = batch.to_tensor()
        if self.transform is not None:
            tensor = self.transform(tensor)
        labels = batch.labels
        return tensor if labels is None else (tensor, labels)

    def __getstate__(self) -> dict[str, Any]:
        # In a new process nobody could tell any more.
        self._placement()
        return {**self.__dict__, "_running": None}


@dataclass(frozen=True)
class _Place:
    """Where an iteration stands. `part`: of one worker's sub-stream alone, as if it were a rank of its own."""

    standing: Standing
    part: int | None = None


@dataclass
class _Cursor:
    """Behind the last batch that an iteration gave; behind the last of the epoch, at the beginning of the next."""

    place: _Place


class _Epoch:
    """One iteration over the batches of an epoch, or what a state left of it."""

    def __init__(self, dataset: StreamingDataset, resume: _Place) -> None:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        rank, world_size = dataset.rank, dataset.world_size
        self._dataset = dataset
        self._stream: BatchIterator | None = None
        self._ended = False
        if resume.part is None:
            share = resume.standing.share(rank, world_size, number, workers)
        else:
            sub_rank, sub_world = resume.part * world_size + rank, world_size * workers
            share = replace(resume.standing.share(sub_rank, sub_world, 0, 1), part=resume.part)
        self._part = share.part if workers > 1 else None
        self._share = share
        self.cursor = _Cursor(_Place(self._begun(share), self._part))

    def __iter__(self) -> _Epoch:
        return self

    def __next__(self) -> Any:
        while not self._ended:
            if self._stream is None:
                self._stream = self._dataset._open(self._share)
            batch = next(self._stream, None)
            if batch is None:
                self._end()
                break
            self.cursor.place = _Place(_standing_at(batch.position), self._part)
            if len(batch) > 0:
                return self._dataset._collated(batch)
        raise StopIteration

    def _begun(self, share: Share) -> Standing:
        """Before the first batch, in terms of this world."""
        begun = _standing_at(share.position)
        if begun.world_size == share.world_size:
            return begun
        # Behind a short batch the next item would be past the end.
        start = next_item(share.position)
        start = min(start, self._dataset.description["count"]) if start else 0
        return replace(begun, start_index=start, batch_index=0, world_size=share.world_size)

    def _end(self) -> None:
        self._ended = True
        self._stream = None
        if self._part is None:
            self.cursor.place = _Place(self._dataset._beginning(self.cursor.place.standing.epoch + 1))


def _standing_at(position: StreamPosition) -> Standing:
    return Standing(
        position["epoch"],
        position["start_index"],
        position["batch_index"],
        position["world_size"],
        1,
        position["batch_size"],
    )


def _same(field: str, taken: Any, now: Any) -> None:
    if taken != now:
        raise StateMismatch(
            f"{field}: the state was taken with {taken!r}; this stream has {now!r}.",
            {"field": field, "expected": taken, "actual": now},
        )


def _rank_and_world() -> tuple[int, int]:
    """
    :raises FailedPreconditionError: where the environment says half of it.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    rank, world_size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world_size is None:
        return 0, 1
    if rank is None or world_size is None or not (rank.isdigit() and world_size.isdigit()):
        raise FailedPreconditionError(
            f"RANK={rank} and WORLD_SIZE={world_size} do not say where this process stands; set both, or pass them.",
            {"field": "rank"},
        )
    return int(rank), int(world_size)
