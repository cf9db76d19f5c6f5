"""Batches from a companion on this machine: docs/formats/handoff-v1.md."""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ._ring import Ring, byte_length
from .batch import Batch
from .errors import FailedPreconditionError
from .gpu import device_ordinal, device_report, device_ring, forget_report
from .lending import Lease, Lender
from .line import Line, open_line
from .options import ItemError, StreamOptions
from .position import StreamPosition, position_of

#: How long the program may hold every slot while it asks for more: another thread may be about to let go of one.
HELD_PATIENCE_S = 2.0
#: How often copies to a device are asked whether they are done, while nothing else happens.
FENCE_POLL_S = 0.000_5
#: Another thread may give back a slot whose device still reads: looked after this often.
IDLE_POLL_S = 0.1


class _Held:
    """A batch's side of a lease."""

    def __init__(self, stream: HandoffStream, lease: Lease, message: Mapping[str, Any]) -> None:
        self.lease = lease
        self._stream = stream
        self._tensors: dict[str, Mapping[str, Any]] = {each["name"]: each for each in message["tensors"]}

    def data(self, on_host: bool) -> Any:
        return self._array("data", on_host)

    def ends(self) -> Sequence[int] | None:
        return self._integers("ends")

    def undecoded(self) -> str | None:
        return None

    def labels(self) -> Sequence[int] | None:
        return self._integers("labels")

    def indices(self) -> Sequence[int]:
        return self._integers("indices") or []

    def paths(self) -> Sequence[str]:
        return self._stream.paths_of(self.lease)

    def keep(self) -> None:
        self._stream.lender.check_keep()

    def _integers(self, name: str) -> list[int] | None:
        if name not in self._tensors:
            return None
        return self._array(name, True).memoryview().tolist()  # type: ignore[no-any-return]

    def _array(self, name: str, on_host: bool) -> Any:
        ring = self._stream.lender.ring
        if ring is None:
            raise FailedPreconditionError("The stream of this batch was closed.", {"field": "batch"})
        tensor = self._tensors[name]
        take = ring.host_array if on_host else ring.array
        return take(self.lease.slot, tensor["offset"], tensor["dtype"], tuple(tensor["shape"]), self.lease)


class HandoffStream:
    """
    Batches of one connection. One thread at a time may ask for the next; tensors may be dropped on any.

    Not usable in a process that was forked from the one that opened it: open another one there.
    """

    def __init__(
        self,
        line: Line,
        ring: Ring | None,
        opened: Mapping[str, Any],
        framework: str,
        device: str | None,
    ) -> None:
        self.opened = opened
        self.stream_id: str = opened["stream_id"]
        self.position: StreamPosition | None = None
        self.lender = Lender(line, ring)
        self._line = line
        self._framework = framework
        self._device = device
        self._dataset: str = opened["dataset"]["content_hash"]
        self._current: Batch | None = None
        self._ended = False
        self._closed = False
        # Messages that came while something else was waited for.
        self._early: deque[dict[str, Any]] = deque()

    def __iter__(self) -> HandoffStream:
        return self

    def __next__(self) -> Batch:
        self._check_process()
        batch, self._current = self._current, None
        if batch is not None:
            batch._pass()
            del batch
        if self._ended or self._closed:
            self.lender.flush()
            raise StopIteration
        message = self._early.popleft() if self._early else self._await_message()
        if message["type"] == "end":
            self._ended = True
            self.lender.flush()
            raise StopIteration
        return self._batch(message)

    def close(self) -> None:
        """Ends the stream. Batches that are kept, and tensors, stay good."""
        if not self._closed:
            self._closed = True
            self._current = None
            self.lender.close()

    def __enter__(self) -> HandoffStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()

    def acknowledge(self, holding: Any, checkpoint: bool) -> None:
        self.lender.acknowledge(holding.lease, checkpoint)

    def paths_of(self, lease: Lease) -> Sequence[str]:
        self._check_process()
        self.lender.send({"type": "paths", "lease": lease.number})
        while True:
            message = self._line.expect("paths", "batch", "end")
            if message["type"] == "paths":
                return message["paths"]  # type: ignore[no-any-return]
            self._early.append(message)

    def _batch(self, message: Mapping[str, Any]) -> Batch:
        lease = self.lender.lend(message["lease"], message["slot"])
        if self.lender.ring is not None:
            self.lender.ring.receive(lease.slot, _extent(message["tensors"]))
        self.position = position_of(message["position"])
        self._current = Batch(
            stream=self,
            holding=_Held(self, lease, message),
            count=message["count"],
            index=message["index"],
            epoch=message["epoch"],
            total_batches=message["total_batches"],
            is_last=message["is_last"],
            padded=message.get("padded", 0),
            position=self.position,
            errors=[ItemError(each["index"], each["path"], each["message"]) for each in message.get("errors", ())],
            dataset=self._dataset,
            framework=self._framework,
            device=self._device,
        )
        return self._current

    def _await_message(self) -> dict[str, Any]:
        """Meanwhile copies to a device end, and slots go back."""
        deadline: float | None = None
        while True:
            self.lender.flush()
            if self._line.ready(0):
                break
            if self.lender.all_held():
                if deadline is None:
                    gc.collect()
                    deadline = time.monotonic() + HELD_PATIENCE_S
                elif time.monotonic() > deadline:
                    raise self.lender.exhausted()
                self._line.ready(HELD_PATIENCE_S / 100)
            elif self._line.ready(FENCE_POLL_S if self.lender.copies_pending() else IDLE_POLL_S):
                break
        return self._line.expect("batch", "end")

    def _check_process(self) -> None:
        if self._line.process != os.getpid():
            raise FailedPreconditionError(
                "This stream belongs to the process that this one was forked from. Open it where it is used.",
                {"field": "process"},
            )


def request_of(options: StreamOptions, kind: str, gateway: str | None) -> dict[str, Any]:
    """The ``open`` or ``describe`` message; what has its default is left out."""
    asked: dict[str, Any] = {
        "type": kind,
        "dataset": options.dataset_id,
        "access_token": options.access_token,
        "batch_size": options.batch_size,
        "gateway": gateway,
        "stream_id": options.stream_id,
        "epoch": options.epoch,
        "epochs": options.epochs,
        "rank": options.rank,
        "world_size": options.world_size,
        "shuffle": False if options.shuffle == "sequential" else options.shuffle,
        "seed": str(options.seed),
        "block": options.block and dict(options.block),
        "tail": options.tail,
        "filter": options.filter and dict(options.filter),
        "position": options.position and dict(options.position),
        "max_trust_level": options.max_trust_level,
        "prefetch_batches": options.prefetch_batches,
        "slots": options.slots,
        "on_error": "raise" if options.on_error == "raise" else "skip",
        "processing": options.processing and dict(options.processing),
        "schema_hash": options.schema_hash,
        "known_keys": options.known_keys and os.path.abspath(os.path.expanduser(options.known_keys)),
        "cache": options.cache,
        "backend": options.backend,
    }
    return {name: value for name, value in asked.items() if value is not None}


def open_stream(path: str, options: StreamOptions, gateway: str | None, framework: str) -> HandoffStream:
    """Opens a stream of the companion behind this socket, and maps its ring where the tensors shall be."""
    ordinal = device_ordinal(options, framework)
    line = open_line(path)
    try:
        request = request_of(options, "open", gateway)
        device = None if ordinal is None else device_report(ordinal)
        if device is not None:
            request["device"] = device
        line.send(request)
        opened = line.expect("opened")
        forget_report()
        ring = None if opened.get("ring") is None else _mapped(opened["ring"])
        if ring is not None and opened["backend"] != "shm":
            placed = device_ring(ring, opened["backend"], ordinal)
            if placed is None and options.backend in (None, "auto"):
                line.close()
                return open_stream(path, replace(options, backend="shm", device="cpu"), gateway, framework)
            if placed is None:
                raise FailedPreconditionError(
                    f"The device has no memory for {ring.slots} slots of {ring.slot_bytes} bytes. Use fewer slots, smaller "
                    "batches, or backend='shm'.",
                    {"field": "backend"},
                )
            ring = placed
        if ring is not None:
            line.send({"type": "attached", "handles": list(ring.handles)} if ring.handles else {"type": "attached"})
    except BaseException:
        line.close()
        raise
    on_device = opened.get("ring") is not None and opened["backend"] != "shm"
    return HandoffStream(line, ring, opened, framework, f"cuda:{ordinal}" if on_device else options.device)


def describe(path: str, options: StreamOptions, gateway: str | None) -> dict[str, Any]:
    """What the stream would be; starts nothing."""
    line = open_line(path)
    try:
        line.send(request_of(options, "describe", gateway))
        return line.expect("described")
    finally:
        line.close()


def _mapped(ring: Mapping[str, Any]) -> Ring:
    try:
        return Ring.map(ring["path"], ring["size"], ring["slots"], ring["slot_bytes"])
    except (OSError, ValueError) as error:
        raise FailedPreconditionError(
            f"The companion's memory {ring['path']} cannot be mapped ({error}): it must run on this machine, as this user, "
            "and share /dev/shm with this process.",
            {"field": "ring"},
        ) from error


def _extent(tensors: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of a slot that a batch takes."""
    return max((each["offset"] + byte_length(each["dtype"], each["shape"]) for each in tensors), default=0)
