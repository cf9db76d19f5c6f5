"""Slots on loan: who can still see one, and when it goes back to the companion."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ._ring import Fence, Ring
from .errors import DataStreamError, ResourceExhaustedError
from .gpu import current_streams
from .line import Line

#: How long a companion may take to let go of device memory.
LET_GO_S = 2.0


class Lease:
    """A slot on loan. Everything that can see the slot's memory refers to this; its end gives the slot back."""

    __slots__ = ("__weakref__", "number", "slot")

    def __init__(self, number: int, slot: int) -> None:
        self.number = number
        self.slot = slot


class _Loan:
    """What is remembered of a lease, without keeping it alive."""

    __slots__ = ("acknowledge", "checkpoint", "fence", "number", "slot")

    def __init__(self, lease: Lease) -> None:
        self.number = lease.number
        self.slot = lease.slot
        self.acknowledge = False
        self.checkpoint = False
        self.fence: Fence | None = None
        """Set when nobody refers to the lease any more; a device may still be reading."""


class Lender:
    """
    The leases of one connection.

    The last reference to a lease may go on any thread, and in the middle of anything, since the collector runs when it
    likes. So nothing here waits for a lock that the same thread may hold: whoever finds it taken leaves the work to its holder.
    """

    def __init__(self, line: Line, ring: Ring | None) -> None:
        self._line = line
        self._ring = ring
        self._slots = 0 if ring is None else ring.slots
        self._loans: dict[int, _Loan] = {}
        # With the streams that whoever let go was working on.
        self._dropped: deque[tuple[int, Sequence[int]]] = deque()
        self._busy = threading.Lock()
        self._closed = False

    @property
    def ring(self) -> Ring | None:
        return self._ring

    def lend(self, number: int, slot: int) -> Lease:
        lease = Lease(number, slot)
        self._loans[number] = _Loan(lease)
        weakref.finalize(lease, _dropped, self._dropped, number, weakref.ref(self)).atexit = False
        return lease

    def acknowledge(self, lease: Lease, checkpoint: bool) -> None:
        """Goes along with the release."""
        loan = self._loans.get(lease.number)
        if loan is not None:
            loan.acknowledge = True
            loan.checkpoint = loan.checkpoint or checkpoint

    def check_keep(self) -> None:
        """
        :raises ResourceExhaustedError: when every slot is held, so that none is left to receive into.
        """
        if self._held() < self._slots:
            return
        gc.collect()
        self.flush()
        if self._held() >= self._slots:
            raise self.exhausted()

    def all_held(self) -> bool:
        """Whether the program holds every slot, so that no batch can come."""
        return self._slots > 0 and self._held() >= self._slots

    def all_free(self) -> bool:
        return not self._loans

    def copies_pending(self) -> bool:
        """Whether slots wait for a device that still reads them."""
        return any(loan.fence is not None for loan in list(self._loans.values()))

    def exhausted(self) -> ResourceExhaustedError:
        return ResourceExhaustedError(
            f"The program holds {self._held()} of {self._slots} batches, in batches that were kept or in tensors that are "
            "still referred to. Let go of some, copy with to_tensor(copy=True), or open the stream with more slots.",
            {"field": "slots", "limit": self._slots},
        )

    def send(self, message: Mapping[str, Any]) -> None:
        with self._busy:
            self._line.send(message)
        self.flush()

    def flush(self) -> None:
        """Gives back what nobody refers to any more."""
        if self._line.process != os.getpid():
            return
        while self._busy.acquire(blocking=False):
            try:
                self._retire_dropped()
                self._release_retired()
                if self._line.closed and not self._loans and self._ring is not None:
                    self._ring.close()
                    self._ring = None
            finally:
                self._busy.release()
            if not self._dropped:
                return

    def close(self) -> None:
        """Ends the connection. What is still held stays good; the ring goes with the last of it."""
        if self._closed:
            return
        try:
            self.flush()
            # Not waiting: the collector may end a stream in the middle of its own release. The end of the connection says it too.
            if self._line.process == os.getpid() and self._busy.acquire(blocking=False):
                try:
                    self._line.send({"type": "close"})
                    self._closed = True
                finally:
                    self._busy.release()
        except DataStreamError:
            pass
        self._closed = True
        if self._ring is not None and self._ring.handles:
            # The companion has our device memory open, which must not be freed before it let go.
            self._line.drain(LET_GO_S)
        self._line.close()
        self.flush()

    def _held(self) -> int:
        return sum(loan.fence is None for loan in list(self._loans.values()))

    def _retire_dropped(self) -> None:
        while self._dropped:
            number, streams = self._dropped.popleft()
            loan = self._loans.get(number)
            if loan is not None:
                loan.fence = Fence() if self._ring is None else self._ring.retire(loan.slot, streams)

    def _release_retired(self) -> None:
        for loan in list(self._loans.values()):
            if loan.fence is None or not (self._closed or loan.fence.done()):
                continue
            del self._loans[loan.number]
            if self._closed:
                continue
            message: dict[str, Any] = {"type": "release", "lease": loan.number, "slot": loan.slot}
            if loan.acknowledge:
                message["acknowledge"] = True
            if loan.checkpoint:
                message["checkpoint"] = True
            self._line.send(message)


def _dropped(dropped: deque[tuple[int, Sequence[int]]], number: int, lender: weakref.ref[Lender]) -> None:
    living = lender()
    ring = None if living is None else living.ring
    dropped.append((number, () if ring is None else current_streams(ring.device)))
    if living is not None:
        try:
            living.flush()
        except DataStreamError:
            pass  # Whoever asks for the next batch is told.
