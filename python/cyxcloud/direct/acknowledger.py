"""Tells the gateway what the consumer is done with, in the background."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import DataStreamError


@dataclass(frozen=True)
class Acknowledgement:
    """Of a batch and all before it in its epoch."""

    epoch: int
    lease: int
    batch_index: int
    transcript_head: bytes
    checkpoint: bool


class Acknowledger:
    """
    One call at a time. What piles up meanwhile is merged into the newest of its epoch, checkpoints excepted: each says
    that the consumer stored this very position. A passing failure is made good by the next one, since they are
    cumulative; a contradiction about the transcript is kept and raised.
    """

    def __init__(self, send: Callable[[Acknowledgement], object]) -> None:
        self._send = send
        self._waiting: deque[Acknowledgement] = deque()
        self._change = threading.Condition()
        self._busy = False
        self._failure: DataStreamError | None = None

    def push(self, acknowledgement: Acknowledgement) -> None:
        """
        :raises DataLossError: when the gateway's transcript differs from ours.
        """
        with self._change:
            if self._failure is not None:
                raise self._failure
            last = self._waiting[-1] if self._waiting else None
            if (
                last is not None
                and not last.checkpoint
                and last.epoch == acknowledgement.epoch
                and last.batch_index <= acknowledgement.batch_index
            ):
                self._waiting.pop()
            self._waiting.append(acknowledgement)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._drain, name="cyxcloud-acknowledge", daemon=True).start()

    def flush(self, timeout: float | None = None) -> None:
        """Waits until everything pushed so far was sent or failed, or for so many seconds."""
        with self._change:
            self._change.wait_for(lambda: not self._busy, timeout)
            if self._failure is not None:
                raise self._failure

    def _drain(self) -> None:
        while True:
            with self._change:
                if not self._waiting or self._failure is not None:
                    self._busy = False
                    self._change.notify_all()
                    return
                next_one = self._waiting.popleft()
            try:
                self._send(next_one)
            except DataStreamError as error:
                # A lease that a reconnect of our own has outdated is acknowledged again with the next batch.
                if error.code == "data_loss":
                    with self._change:
                        self._failure = error
