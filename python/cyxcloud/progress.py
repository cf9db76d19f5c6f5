"""A progress bar, where tqdm is installed and somebody asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .options import StreamOptions


class Progress:
    """Counts batches of one rank over all epochs of a stream."""

    def __init__(self, wanted: bool, opened: Mapping[str, Any], options: StreamOptions) -> None:
        self._bar: Any = None
        if not wanted:
            return
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        total = opened["total_batches"] + (options.epochs - 1) * opened["batches_per_epoch"]
        rank = f" rank {options.rank}" if options.world_size > 1 else ""
        self._bar = tqdm(total=total, unit="batch", desc=f"{opened['dataset']['name']}{rank}", dynamic_ncols=True)

    def advance(self, epoch: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix(epoch=epoch, refresh=False)
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
