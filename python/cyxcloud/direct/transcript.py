"""Parameters of a stream, the hash chain over what it sends, and batch hashes: docs/formats/transcript-v1.md."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .canonical import canonical_json
from .hashing import Blake3
from .order import BlockShape

_START = "cyxcloud-datastream 2026-11 transcript v1 start"
_STEP = "cyxcloud-datastream 2026-11 transcript v1 step"
_FRAMED = "cyxcloud-datastream 2026-11 framed batch v1"
_VIEW = "cyxcloud-datastream 2026-11 view v1"


@dataclass(frozen=True)
class Filter:
    """Keeps the items whose path has the prefix and matches one of the globs."""

    prefix: str | None = None
    globs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StreamParameters:
    """Everything that fixes the content of a stream: two with equal parameters send the same items."""

    dataset_id: str
    content_hash: bytes
    schema_hash: bytes
    mode: str
    seed: int
    block: BlockShape | None
    batch_size: int
    tail: str
    filter: Filter | None
    view_hash: bytes | None
    batch_hash: str
    processing_hash: bytes | None = None

    def json(self) -> dict[str, Any]:
        """What is hashed: every key is always there, and null where it does not apply."""
        block = self.block
        return {
            "format": 1,
            "dataset_id": self.dataset_id,
            "content_hash": self.content_hash.hex(),
            "schema_hash": self.schema_hash.hex(),
            "order": "v1",
            "mode": self.mode,
            "seed": str(signed_seed(self.seed)),
            "block_size": block and block.block_size,
            "lanes": block and block.lanes,
            "blocks_per_group": block and block.blocks_per_group,
            "batch_size": self.batch_size,
            "tail": self.tail,
            "filter": self.filter
            and {"prefix": self.filter.prefix, "globs": self.filter.globs and list(self.filter.globs)},
            "view_hash": self.view_hash.hex() if self.view_hash else None,
            "batch_hash": self.batch_hash,
            "processing_hash": self.processing_hash.hex() if self.processing_hash else None,
        }


def signed_seed(seed: int) -> int:
    """−1 and 2⁶⁴ − 1 are one seed; the wire says it signed."""
    return (seed + 2**63) % 2**64 - 2**63


def view_hash(packed_view: bytes, blake3: Blake3) -> bytes:
    return blake3.derive_key(_VIEW, packed_view)


class Transcript:
    """A running chain of one segment: whoever knows parameters, manifest and order computes the same heads."""

    def __init__(
        self,
        parameters: StreamParameters,
        epoch: int,
        rank: int,
        world_size: int,
        start_index: int,
        blake3: Blake3,
    ) -> None:
        self._blake3 = blake3
        self.head = blake3.derive_key(
            _START,
            canonical_json(
                {
                    "parameters": parameters.json(),
                    "epoch": epoch,
                    "rank": rank,
                    "world_size": world_size,
                    "start_index": start_index,
                }
            ),
        )

    def advance(self, batch_index: int, item_indices: Sequence[int], item_hashes: Sequence[bytes]) -> bytes:
        """Appends a batch, and gives the new head, 32 bytes."""
        message = bytearray(self.head)
        message += struct.pack("<QI", batch_index, len(item_indices))
        for index, item_hash in zip(item_indices, item_hashes):
            message += index.to_bytes(8, "little")
            message += item_hash
        self.head = self._blake3.derive_key(_STEP, message)
        return self.head


def framed_batch_hash(batch_index: int, sizes: Sequence[int], item_hashes: Sequence[bytes], blake3: Blake3) -> bytes:
    """Commits to the items through their sizes and hashes, which must have been checked against the data."""
    message = bytearray(struct.pack("<QI", batch_index, len(sizes)))
    for size, item_hash in zip(sizes, item_hashes):
        message += size.to_bytes(8, "little")
        message += item_hash
    return blake3.derive_key(_FRAMED, message)
