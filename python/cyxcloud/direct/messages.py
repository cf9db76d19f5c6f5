"""The messages of proto/datastream.proto that a stream needs, field for field."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import DataLossError
from .order import BlockShape
from .plan import TAILS
from .transcript import StreamParameters, signed_seed
from .wire import Writer, fields, numbers

_SHUFFLE_MODES = {"sequential": 1, "full": 2, "block": 3}
_BATCH_HASHES = {"concatenated": 0, "framed": 1}


def stream_request(
    parameters: StreamParameters,
    *,
    access_token: str,
    stream_id: str,
    epoch: int,
    rank: int,
    world_size: int,
    start_index: int,
    resume_batch_index: int | None,
    prefetch_batches: int,
    max_trust_level: int,
) -> bytes:
    """A StreamBatchesRequest. Without ``resume_batch_index`` the rank goes on behind its last acknowledgement."""
    block = parameters.block or BlockShape(0, 0, 0)
    writer = (
        Writer()
        .data(1, parameters.dataset_id)
        .data(2, access_token)
        .number(3, parameters.batch_size)
        .number(4, start_index)
        .number(5, prefetch_batches)
        .number(6, max_trust_level)
        .number(7, int(parameters.mode == "full"))
        .number(8, signed_seed(parameters.seed))
        .data(9, stream_id)
        .number(10, epoch)
        .number(11, rank)
        .number(12, world_size)
        .number(13, _SHUFFLE_MODES[parameters.mode])
        .number(14, block.block_size)
        .number(15, block.lanes)
        .number(16, block.blocks_per_group)
        .number(17, TAILS.index(parameters.tail))
    )
    if parameters.filter is not None:
        sent = Writer().data(1, parameters.filter.prefix or "")
        for glob in parameters.filter.globs or ():
            sent.element(2, glob)
        writer.element(18, sent.finish())
    writer.number(19, _BATCH_HASHES[parameters.batch_hash])
    if resume_batch_index is not None:
        writer.present_number(20, resume_batch_index)
    return writer.data(21, parameters.processing_hash or b"").finish()


@dataclass
class BatchMessage:
    """A BatchResponse; ``items`` are views of the message as it came."""

    batch_index: int = 0
    items: list[memoryview] = field(default_factory=list)
    item_hashes: list[bytes] = field(default_factory=list)
    batch_hash: bytes = b""
    total_batches: int = 0
    is_last: bool = False
    item_indices: list[int] = field(default_factory=list)
    stream_id: str = ""
    epoch: int = 0
    transcript_head: bytes = b""
    padded_items: int = 0
    lease: int = 0
    start_index: int = 0
    world_size: int = 0


_NUMBERS = {
    1: "batch_index",
    5: "total_batches",
    9: "epoch",
    11: "padded_items",
    12: "lease",
    13: "start_index",
    14: "world_size",
}


def parse_batch(message: memoryview) -> BatchMessage:
    """
    :raises DataLossError: for bytes that are no batch.
    """
    batch = BatchMessage()
    try:
        for number, value in fields(message):
            _take(batch, number, value)
    except (TypeError, UnicodeDecodeError):
        raise DataLossError("The gateway sent a message that is no batch.") from None
    return batch


def _take(batch: BatchMessage, number: int, value: int | memoryview) -> None:
    if number == 7:
        batch.item_indices += numbers(value)
    elif isinstance(value, int):
        name = _NUMBERS.get(number)
        if name is not None:
            setattr(batch, name, value)
        elif number == 6:
            batch.is_last = bool(value)
        elif number in (2, 3, 4, 8, 10):
            raise TypeError
    elif number == 2:
        batch.items.append(value)
    elif number == 3:
        batch.item_hashes.append(bytes(value))
    elif number == 4:
        batch.batch_hash = bytes(value)
    elif number == 8:
        batch.stream_id = str(value, "utf-8")
    elif number == 10:
        batch.transcript_head = bytes(value)


def acknowledgement(
    *,
    dataset_id: str,
    access_token: str,
    stream_id: str,
    epoch: int,
    rank: int,
    lease: int,
    batch_index: int,
    transcript_head: bytes,
    checkpoint: bool,
) -> bytes:
    """An AckBatchesRequest for a batch and all before it."""
    return (
        Writer()
        .data(1, dataset_id)
        .data(2, access_token)
        .data(3, stream_id)
        .number(4, epoch)
        .number(5, rank)
        .number(6, lease)
        .number(7, batch_index)
        .data(8, transcript_head)
        .number(9, int(checkpoint))
        .finish()
    )
