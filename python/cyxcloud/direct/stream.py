"""Batches straight from a gateway, without a companion: received, verified and decoded on a thread of their own."""

from __future__ import annotations

import os
import queue
import threading
import uuid
import weakref
from collections.abc import Sequence
from typing import Any, Union

from ..batch import Batch
from ..errors import CanceledError, DataStreamError, FailedPreconditionError, invalid_argument
from ..options import StreamOptions
from ..position import StreamPosition
from .acknowledger import Acknowledgement, Acknowledger
from .dataset import Dataset, open_dataset
from .decode import DecodedBatch, Decoder, undecoded
from .hashing import Blake3
from .http import Gateway
from .messages import acknowledgement
from .pins import PinFile
from .receive import PREFETCH_DEFAULT, Delivery, Receiver

_POLL_S = 0.1
#: How long a stream that is closed waits for what it acknowledged last.
CLOSE_PATIENCE_S = 5.0
_Ready = Union[tuple[Delivery, DecodedBatch], DataStreamError, None]


class _Held:
    """A batch's own memory: nothing is lent, so all of it can be kept."""

    def __init__(self, dataset: Dataset, delivery: Delivery, decoded: DecodedBatch) -> None:
        self.delivery = delivery
        self._dataset = dataset
        self._decoded = decoded

    def data(self, on_host: bool) -> Any:
        return self._decoded.array

    def ends(self) -> Sequence[int] | None:
        return self._decoded.ends

    def undecoded(self) -> str | None:
        return undecoded(self._dataset.schema)

    def labels(self) -> Sequence[int] | None:
        schema = self._dataset.schema
        return None if schema.classes is None else [schema.label(path) for path in self.paths()]

    def indices(self) -> Sequence[int]:
        return [self.delivery.batch.indices[i] for i in self._decoded.kept]

    def paths(self) -> Sequence[str]:
        return [self.delivery.batch.files[i].path for i in self._decoded.kept]

    def keep(self) -> None:
        pass


class DirectStream:
    """
    One thread at a time may ask for the next batch. Not usable in a process that was forked from the one that opened it.
    """

    def __init__(self, receiver: Receiver, gateway: Gateway, options: StreamOptions, framework: str) -> None:
        self.stream_id = receiver.stream_id
        self.position: StreamPosition | None = None
        self._receiver = receiver
        self._options = options
        self._framework = framework
        self._process = os.getpid()
        self._current: Batch | None = None
        self._ended = False
        self._decoder = Decoder(receiver.dataset.schema, skip=options.on_error != "raise")
        # The lease under which the epoch's batches were received last, by epoch.
        self._leases: dict[int, int] = {}
        self._acknowledger = Acknowledger(self._sender(gateway))
        self._ready: queue.Queue[_Ready] = queue.Queue(options.prefetch_batches or PREFETCH_DEFAULT)
        arguments = (receiver, self._decoder, self._ready)
        self._thread = threading.Thread(target=_produce, args=arguments, name="cyxcloud-stream", daemon=True)
        self._thread.start()
        self._finalizer = weakref.finalize(self, receiver.cancel)

    @property
    def opened(self) -> dict[str, Any]:
        """As a companion describes a stream: docs/formats/handoff-v1.md."""
        return _description(self._receiver, self._decoder.format, self.stream_id)

    def __iter__(self) -> DirectStream:
        return self

    def __next__(self) -> Batch:
        if self._process != os.getpid():
            raise FailedPreconditionError(
                "This stream belongs to the process that this one was forked from. Open it where it is used.",
                {"field": "process"},
            )
        batch, self._current = self._current, None
        if batch is not None:
            batch._pass()
        if self._ended:
            raise StopIteration
        ready = self._ready.get()
        if ready is None:
            self._ended = True
            self._acknowledger.flush()
            raise StopIteration
        if isinstance(ready, DataStreamError):
            self._ended = True
            raise ready
        self._current = self._batch(*ready)
        self.position = self._current.position
        return self._current

    def close(self) -> None:
        self._ended = True
        self._current = None
        if self._process != os.getpid():
            # A fork has the parent's locks as they were then, perhaps taken by a thread that it does not have, and the very
            # connection that the parent still reads.
            self._finalizer.detach()
            return
        self._finalizer()
        try:
            # For a thread that waits for a batch.
            self._ready.put_nowait(None)
        except queue.Full:
            pass
        try:
            self._acknowledger.flush(CLOSE_PATIENCE_S)
        except DataStreamError:
            pass

    def __enter__(self) -> DirectStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def acknowledge(self, holding: Any, checkpoint: bool) -> None:
        verified = holding.delivery.batch
        lease = self._leases.get(verified.message.epoch)
        if lease is not None and self._process == os.getpid():
            epoch, index, head = (
                verified.message.epoch,
                verified.message.batch_index,
                verified.transcript_head,
            )
            self._acknowledger.push(Acknowledgement(epoch, lease, index, head, checkpoint))

    def _batch(self, delivery: Delivery, decoded: DecodedBatch) -> Batch:
        verified = delivery.batch
        message = verified.message
        self._leases[message.epoch] = message.lease
        return Batch(
            stream=self,
            holding=_Held(self._receiver.dataset, delivery, decoded),
            count=len(decoded.kept),
            index=message.batch_index,
            epoch=message.epoch,
            total_batches=verified.total_batches,
            is_last=verified.is_last,
            padded=verified.padded,
            position=StreamPosition(
                epoch=message.epoch,
                start_index=delivery.start_index,
                batch_index=message.batch_index + 1,
                world_size=self._options.world_size,
                batch_size=self._options.batch_size,
            ),
            errors=decoded.errors,
            dataset=self._receiver.dataset.content_hash.hex(),
            framework=self._framework,
            device=self._options.device,
        )

    def _sender(self, gateway: Gateway) -> Any:
        token, rank, stream_id = self._options.access_token, self._options.rank, self.stream_id
        dataset_id = self._receiver.dataset.id

        def send(each: Acknowledgement) -> None:
            message = acknowledgement(
                dataset_id=dataset_id,
                access_token=token,
                stream_id=stream_id,
                epoch=each.epoch,
                rank=rank,
                lease=each.lease,
                batch_index=each.batch_index,
                transcript_head=each.transcript_head,
                checkpoint=each.checkpoint,
            )
            gateway.call("AckBatches", token, message)

        return send


def open_stream(
    gateway: Gateway, options: StreamOptions, pins: PinFile, blake3: Blake3 | None, framework: str
) -> DirectStream:
    """Fetches and verifies the dataset, and begins to receive."""
    return DirectStream(_receiver(gateway, options, pins, blake3), gateway, options, framework)


def describe(gateway: Gateway, options: StreamOptions, pins: PinFile, blake3: Blake3 | None) -> dict[str, Any]:
    """What the stream would be; starts nothing."""
    receiver = _receiver(gateway, options, pins, blake3)
    return _description(receiver, Decoder(receiver.dataset.schema, skip=True).format, options.stream_id)


def _receiver(gateway: Gateway, options: StreamOptions, pins: PinFile, blake3: Blake3 | None) -> Receiver:
    for field in ("processing", "cache", "backend", "known_keys"):
        if getattr(options, field):
            raise invalid_argument(field, "is what a companion does; this stream comes straight from a gateway.")
    dataset = open_dataset(gateway, options.access_token, options.dataset_id, pins, blake3, options.schema_hash)
    return Receiver(gateway, dataset, options, options.stream_id or str(uuid.uuid4()), blake3)


def _description(receiver: Receiver, decoded: dict[str, Any] | None, stream_id: str | None) -> dict[str, Any]:
    _, start, batch = receiver.begin()
    return {
        "stream_id": stream_id,
        "dataset": receiver.dataset.description,
        "count": receiver.count,
        "total_batches": max(0, receiver.plan(start).total_batches - (batch or 0)),
        "batches_per_epoch": receiver.plan(0).total_batches,
        "format": decoded,
    }


def _produce(receiver: Receiver, decoder: Decoder, ready: queue.Queue[_Ready]) -> None:
    last: _Ready = None
    try:
        for delivery in receiver.deliveries():
            batch = delivery.batch
            paths = [file.path for file in batch.files]
            decoded = decoder.batch(batch.message.items, batch.indices, paths)
            # The tensor has them now.
            batch.message.items.clear()
            if not _put(receiver, ready, (delivery, decoded)):
                return
    except CanceledError:
        return
    except DataStreamError as error:
        last = error
    except Exception as error:
        last = DataStreamError(f"Receiving failed unexpectedly ({type(error).__name__}: {error}).")
        last.__cause__ = error
    _put(receiver, ready, last)


def _put(receiver: Receiver, ready: queue.Queue[_Ready], value: _Ready) -> bool:
    while not receiver.canceled.is_set():
        try:
            ready.put(value, timeout=_POLL_S)
            return True
        except queue.Full:
            continue
    return False
