"""Epochs of one rank, over as many requests as it takes, each batch verified."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CanceledError, DataStreamError, UnavailableError, VerificationError, invalid_argument
from ..options import StreamOptions
from ..position import next_item
from .dataset import Dataset
from .hashing import Blake3
from .http import FrameReader, Gateway
from .messages import BatchMessage, parse_batch, stream_request
from .order import BlockShape, Order, view_bytes
from .plan import BatchPlan
from .transcript import Filter, StreamParameters, view_hash
from .verifier import BatchVerifier, Segment, VerifiedBatch

PREFETCH_DEFAULT = 2
ATTEMPTS = 10
FIRST_DELAY_S = 0.2
MAX_DELAY_S = 15.0
#: How often a batch is asked for again whose items do not fit their hashes.
REFETCHES = 2

BLOCK_TARGET_BYTES = 1024 * 1024
BLOCK_BUDGET_BYTES = 16 * 1024 * 1024
BLOCK_MAX_ITEMS = 1 << 24
LANES_DEFAULT = 16
BLOCKS_PER_GROUP_DEFAULT = 2


@dataclass(frozen=True)
class Delivery:
    """A verified batch, and what its acknowledgement and position need."""

    batch: VerifiedBatch
    start_index: int


class Receiver:
    """
    Everything that a stream is, but for the consumer. One thread runs `deliveries`.

    :raises InvalidArgumentError: for options that do not fit the dataset.
    """

    def __init__(
        self,
        gateway: Gateway,
        dataset: Dataset,
        options: StreamOptions,
        stream_id: str,
        blake3: Blake3 | None,
    ) -> None:
        self.dataset = dataset
        self.stream_id = stream_id
        self.canceled = threading.Event()
        self._gateway = gateway
        self._options = options
        self._blake3 = blake3
        chosen = None
        if options.filter is not None:
            globs = options.filter.get("globs")
            chosen = Filter(options.filter.get("prefix"), tuple(globs) if globs else None)
        self._view = None if chosen is None else dataset.view(chosen)
        self.count = dataset.manifest.count if self._view is None else len(self._view)
        self._parameters = StreamParameters(
            dataset_id=dataset.id,
            content_hash=dataset.content_hash,
            schema_hash=dataset.schema_hash,
            mode=options.shuffle,
            seed=options.seed,
            block=_block_shape(options, dataset) if options.shuffle == "block" else None,
            batch_size=options.batch_size,
            tail=options.tail,
            filter=chosen,
            view_hash=view_hash(view_bytes(self._view), blake3) if self._view is not None and blake3 else None,
            batch_hash="framed",
        )
        self.plan(0).check()
        self._check_position()
        self._running: FrameReader | None = None

    def plan(self, start: int) -> BatchPlan:
        options = self._options
        return BatchPlan(self.count, options.batch_size, options.world_size, options.rank, start, options.tail)

    def begin(self) -> tuple[int, int, int | None]:
        """Epoch, start and first batch; no batch means behind the last acknowledged one."""
        position = self._options.position
        if position is None:
            return self._options.epoch, 0, None if self._options.stream_id else 0
        if position["world_size"] == self._options.world_size:
            return position["epoch"], position["start_index"], position["batch_index"]
        # Global batches end at the same place on all ranks, so nothing is skipped or repeated.
        return position["epoch"], min(next_item(position), self.count), 0

    def deliveries(self) -> Iterator[Delivery]:
        """
        :raises DataStreamError: when the stream cannot go on, after all retries.
        """
        epoch, start, batch = self.begin()
        last = epoch + self._options.epochs - 1
        while True:
            yield from self._epoch(epoch, start, batch)
            if epoch >= last:
                return
            epoch, start, batch = epoch + 1, 0, None if batch is None else 0

    def cancel(self) -> None:
        """From any thread: `deliveries` ends as soon as it can."""
        self.canceled.set()
        running = self._running
        if running is not None:
            running.cancel()

    def _epoch(self, epoch: int, start: int, first_batch: int | None) -> Iterator[Delivery]:
        verifier = None if first_batch is None else self._verifier(epoch, start, first_batch)
        recovery = _Recovery(self.canceled)
        refetched = -1
        refetches = 0
        while verifier is None or not verifier.complete:
            received = False
            try:
                for message in self._response(epoch, start, None if verifier is None else verifier.next_batch):
                    if verifier is None:
                        # Only a stream that asked to go on after its last acknowledgement takes the gateway's word.
                        start = message.start_index
                        verifier = self._verifier(epoch, start, message.batch_index)
                    verified = verifier.verify(message)
                    received = True
                    recovery.progress()
                    yield Delivery(verified, start)
                if not received and verifier is None:
                    return  # Nothing was left when the stream was continued.
                if not received:
                    raise UnavailableError("The gateway ended the stream without a batch.")
            except DataStreamError as error:
                if self.canceled.is_set():
                    raise CanceledError("The stream was closed.") from None
                batch = error.details.get("batch")
                if isinstance(error, VerificationError) and error.details["subject"] == "item" and verifier is not None:
                    refetches = refetches + 1 if refetched == batch else 1
                    refetched = verifier.next_batch
                    if refetches > REFETCHES:
                        raise
                else:
                    recovery.after(error)

    def _response(self, epoch: int, start: int, batch: int | None) -> Iterator[BatchMessage]:
        options = self._options
        request = stream_request(
            self._parameters,
            access_token=options.access_token,
            stream_id=self.stream_id,
            epoch=epoch,
            rank=options.rank,
            world_size=options.world_size,
            start_index=start,
            resume_batch_index=batch,
            prefetch_batches=options.prefetch_batches or PREFETCH_DEFAULT,
            max_trust_level=options.max_trust_level,
        )
        frames = self._gateway.stream("StreamBatches", options.access_token, request)
        self._running = frames
        if self.canceled.is_set():
            frames.cancel()
        try:
            for frame in frames:
                yield parse_batch(frame)
        finally:
            self._running = None
            frames.cancel()

    def _verifier(self, epoch: int, start: int, first_batch: int) -> BatchVerifier:
        parameters = self._parameters
        order = Order(
            parameters.mode,
            self.count,
            parameters.content_hash,
            parameters.seed,
            epoch,
            parameters.block,
            self._view,
        )
        segment = Segment(parameters, epoch, self.plan(start), order, self.stream_id)
        return BatchVerifier(self.dataset, segment, self._blake3, first_batch)

    def _check_position(self) -> None:
        """Past its end a position is of another dataset or filter, and an epoch of nothing would pass unseen."""
        position = self._options.position
        if position is None:
            return
        start, batch = position["start_index"], position["batch_index"]
        # Rank 0 has the most batches, and ranks may share its position.
        plan = BatchPlan(self.count, self._options.batch_size, position["world_size"], 0, start, self._options.tail)
        if start > self.count or batch > plan.total_batches:
            raise invalid_argument(
                "position",
                f"is no place of an epoch of {self.count} items: batch {batch} from item {start} on.",
            )


class _Recovery:
    """Whether and when an epoch is asked for again after a response that failed."""

    def __init__(self, canceled: threading.Event) -> None:
        self._canceled = canceled
        self._failures = 0
        # Requests that broke off may still reach the session, and take the rank over from the one that followed them.
        self._astray = 0

    def progress(self) -> None:
        self._failures = 0

    def after(self, error: DataStreamError) -> None:
        """Waits until it is time to ask again; raises the error itself when that is no use."""
        self._failures += 1
        overtaken = error.code == "aborted" and self._astray > 0
        if error.code == "unavailable":
            self._astray += 1
        if overtaken:
            self._astray -= 1
        if not (error.retryable or overtaken) or self._failures >= ATTEMPTS:
            raise error
        # "Full jitter", so that the ranks of a run do not come back together.
        ceiling = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (self._failures - 1))
        if self._canceled.wait(random.random() * ceiling):
            raise CanceledError("The stream was closed.")


def _block_shape(options: StreamOptions, dataset: Dataset) -> BlockShape:
    """What the caller left open: blocks of about 1 MiB, then fewer blocks in a group, then fewer lanes, until they fit."""
    given = options.block or {}
    mean = dataset.manifest.total_size / dataset.manifest.count
    by_size = int(BLOCK_TARGET_BYTES / max(1.0, mean) + 0.5)
    block_size = given.get("block_size") or min(BLOCK_MAX_ITEMS, max(1, by_size))
    lanes = given.get("lanes") or LANES_DEFAULT
    blocks_per_group = given.get("blocks_per_group") or BLOCKS_PER_GROUP_DEFAULT

    def over() -> bool:
        return lanes * blocks_per_group * block_size * mean > BLOCK_BUDGET_BYTES

    while not given.get("blocks_per_group") and blocks_per_group > 1 and over():
        blocks_per_group >>= 1
    while not given.get("lanes") and lanes > 1 and over():
        lanes >>= 1
    shape = BlockShape(block_size, lanes, blocks_per_group)
    shape.check()
    return shape
