"""A stream as its consumer sees it: survives a companion that ends, and treats items that were left out as it was told."""

from __future__ import annotations

import random
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Union

from .batch import Batch
from .direct.stream import DirectStream
from .errors import UnavailableError
from .handoff import HandoffStream
from .options import ItemError, StreamOptions
from .position import StreamPosition
from .progress import Progress

Source = Union[HandoffStream, DirectStream]

#: How often a companion that went away is asked for again, without any batch in between.
REOPEN_ATTEMPTS = 6
FIRST_DELAY_S = 0.2
MAX_DELAY_S = 5.0


class BatchIterator:
    """
    Batches one after the other. Also a context manager; a loop that is left early ends the stream as well.

    When the companion ends or restarts, another is found (or started) and goes on behind the last batch that was
    delivered, so each item still comes once.
    """

    def __init__(self, opener: Callable[[StreamOptions], Source], options: StreamOptions, progress: bool) -> None:
        self._opener = opener
        self._options = options
        self._failures = 0
        self._closed = False
        self._source = opener(options)
        self._progress = Progress(progress, self._source.opened, options)
        self.position: StreamPosition | None = options.position

    @property
    def stream_id(self) -> str:
        return self._source.stream_id

    @property
    def description(self) -> Mapping[str, Any]:
        """``dataset``, ``count`` of items, ``batches_per_epoch``, ``total_batches`` from where it began, ``format``."""
        return self._source.opened

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Batch:
        if self._closed:
            raise StopIteration
        while True:
            try:
                batch = next(self._source)
                break
            except UnavailableError as error:
                self._reopen(error)
            except StopIteration:
                self._progress.close()
                raise
        self._failures = 0
        self.position = batch.position
        # Weakly: a batch that somebody keeps must not keep the stream open.
        batch._ask_again = weakref.WeakMethod(self._paths_of)
        for item in batch.errors:
            self._left_out(item)
        self._progress.advance(batch.epoch)
        return batch

    def close(self) -> None:
        """Ends the stream. Tensors stay good."""
        self._closed = True
        self._progress.close()
        self._source.close()

    def __enter__(self) -> BatchIterator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None:
            source.close()

    def _left_out(self, item: ItemError) -> None:
        on_error = self._options.on_error
        if callable(on_error):
            on_error(item)
        elif on_error == "warn":
            warnings.warn(f"Left out item {item.index}: {item.message}", RuntimeWarning, stacklevel=3)

    def _reopen(self, error: UnavailableError) -> None:
        """
        :raises UnavailableError: the error itself where another companion is no use, or none is found.
        """
        if not isinstance(self._source, HandoffStream):
            raise error
        self._source.close()
        self._source = self._opened_after(error, self._remaining())

    def _opened_after(self, error: UnavailableError, options: StreamOptions) -> Source:
        while error.details.get("reason") in ("gone", "draining") and self._failures < REOPEN_ATTEMPTS:
            time.sleep(random.random() * min(MAX_DELAY_S, FIRST_DELAY_S * 2**self._failures))
            self._failures += 1
            try:
                return self._opener(options)
            except UnavailableError as again:
                error = again
        raise error

    def _paths_of(self, batch: Batch, error: UnavailableError) -> Sequence[str]:
        """Of a batch whose companion ended before it was asked: another one sends the same batch."""
        position = StreamPosition(**{**batch.position, "batch_index": batch.index})
        options = replace(self._options, position=position, epoch=batch.epoch, epochs=1, stream_id=None)
        source = self._opened_after(error, options)
        try:
            again = next(source)
            if again.indices != batch.indices:
                raise error
            return again.paths
        finally:
            source.close()

    def _remaining(self) -> StreamOptions:
        """What is left, counted from what the consumer was given."""
        options = self._options
        if self.position is None:
            return options
        last = options.epoch + options.epochs - 1
        first = self.position["epoch"]
        return replace(
            options,
            position=self.position,
            epoch=first,
            epochs=last - first + 1,
            stream_id=self._source.stream_id,
        )
