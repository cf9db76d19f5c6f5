"""
Order v1: which item stands at which position of an epoch, as docs/formats/order-v1.md defines it, at any position in
constant memory.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import invalid_argument

ITEMS_MAX = 2**32
BLOCK_MAX_ITEMS = 1 << 24
LANES_MAX = 1024
BLOCKS_PER_GROUP_MAX = 1024

_MODES = {"sequential": 0, "full": 1, "block": 2}
_ITEMS, _BLOCKS, _GROUP, _TAIL = range(4)
_U32 = 0xFFFF_FFFF
#: Keys of groups that stay known: those of the lanes that are open now.
_CACHED_KEYS = 4096


@dataclass(frozen=True)
class BlockShape:
    """Of a block shuffle: items of a block, lanes, and blocks of a lane that are shuffled together."""

    block_size: int
    lanes: int
    blocks_per_group: int

    def check(self) -> None:
        for field, limit in (
            ("block_size", BLOCK_MAX_ITEMS),
            ("lanes", LANES_MAX),
            ("blocks_per_group", BLOCKS_PER_GROUP_MAX),
        ):
            value = getattr(self, field)
            if not 1 <= value <= limit:
                raise invalid_argument(field, f"must be a whole number from 1 to {limit}, not {value}.", limit=limit)


class Order:
    """
    The order of one epoch.

    :param mode: ``sequential``, ``full`` or ``block``, which needs a ``block``.
    :param count: positions; the dataset's files, or the length of the view.
    :param content_hash: of the dataset, 32 bytes.
    :param view: strictly ascending item indices that a filter selects; positions then name its entries.
    """

    def __init__(
        self,
        mode: str,
        count: int,
        content_hash: bytes,
        seed: int,
        epoch: int,
        block: BlockShape | None = None,
        view: Sequence[int] | None = None,
    ) -> None:
        if mode not in _MODES:
            raise invalid_argument("shuffle", f"must be one of sequential, full and block, not {mode}.")
        if not 0 <= count <= ITEMS_MAX:
            raise invalid_argument("count", f"an order has 0 to {ITEMS_MAX} items, not {count}.", limit=ITEMS_MAX)
        if len(content_hash) != 32:
            raise invalid_argument("content_hash", "must have 32 bytes.")
        if mode == "block":
            if block is None:
                raise invalid_argument("block_size", "a block shuffle needs a block size.")
            block.check()
        self.count = count
        self._mode = mode
        self._view = view
        self._shape = (
            (block.block_size, block.lanes, block.blocks_per_group) if block and mode == "block" else (0, 0, 0)
        )
        self._prefix = b"cyxcloud/order/1" + content_hash + struct.pack("<QQI", seed % 2**64, epoch, _MODES[mode])
        self._keys: dict[tuple[int, int], tuple[int, ...]] = {}

    def item_at(self, position: int) -> int:
        """
        Index of the item in the dataset.

        :raises IndexError: for a position that the order does not have.
        """
        if not 0 <= position < self.count:
            raise IndexError(f"The order has {self.count} positions; there is no position {position}.")
        entry = self._entry_at(position)
        return entry if self._view is None else self._view[entry]

    def _entry_at(self, p: int) -> int:
        if self._mode == "sequential":
            return p
        if self._mode == "full":
            return self._permuted(_ITEMS, 0, self.count, p)
        b, lanes, w = self._shape
        blocks = self.count // b
        grouped = blocks // (lanes * w) * lanes * w
        in_groups = grouped * b
        if p < in_groups:
            lane, q = p % lanes, p // lanes
            group = q // (w * b)
            s = self._permuted(_GROUP, group * lanes + lane, w * b, q % (w * b))
            dealt = (group * w + s // b) * lanes + lane
            return self._permuted(_BLOCKS, 0, blocks, dealt) * b + s % b
        t = self._permuted(_TAIL, 0, self.count - in_groups, p - in_groups)
        in_tail_blocks = (blocks - grouped) * b
        if t < in_tail_blocks:
            return self._permuted(_BLOCKS, 0, blocks, grouped + t // b) * b + t % b
        return blocks * b + t - in_tail_blocks

    def _permuted(self, purpose: int, index: int, n: int, x: int) -> int:
        if n == 1:
            return 0
        keys = self._keys.get((purpose, index)) or self._derive(purpose, index)
        half = ((n - 1).bit_length() + 1) // 2
        mask = (1 << half) - 1
        while True:
            left, right = x >> half, x & mask
            for key in keys:
                # The finaliser of MurmurHash3, on 32 bits.
                m = right ^ key
                m ^= m >> 16
                m = m * 0x85EB_CA6B & _U32
                m ^= m >> 13
                m = m * 0xC2B2_AE35 & _U32
                left, right = right, left ^ ((m ^ m >> 16) & mask)
            x = left << half | right
            if x < n:
                return x

    def _derive(self, purpose: int, index: int) -> tuple[int, ...]:
        message = self._prefix + struct.pack("<IQIIIQ", purpose, self.count, *self._shape, index)
        keys = struct.unpack("<6I", hashlib.sha256(message).digest()[:24])
        if len(self._keys) >= _CACHED_KEYS:
            self._keys.clear()
        self._keys[purpose, index] = keys
        return keys


def view_bytes(view: Sequence[int]) -> bytes:
    """A view as it is hashed: u32 each, little-endian."""
    packed = array("I", view)
    if packed.itemsize != 4:  # pragma: no cover - no platform that Python runs on today
        return b"".join(struct.pack("<I", each) for each in view)
    if struct.pack("=I", 1) != struct.pack("<I", 1):  # pragma: no cover - big-endian
        packed.byteswap()
    return packed.tobytes()
