"""A stream as its consumer sees it: survives a companion that ends, and treats items that were left out as it was told."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Union

from .batch import Batch
from .direct.stream import DirectStream
from .errors import DataStreamError, UnavailableError
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
        if not isinstance(self._source, HandoffStream) or error.details.get("reason") not in (
            "gone",
            "draining",
        ):
            raise error
        self._source.close()
        options = self._remaining()
        while True:
            self._failures += 1
            if self._failures > REOPEN_ATTEMPTS:
                raise error
            time.sleep(random.random() * min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (self._failures - 1)))
            try:
                self._source = self._opener(options)
                return
            except UnavailableError as again:
                error = again
            except DataStreamError as again:
                raise again from error

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
