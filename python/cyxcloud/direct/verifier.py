"""What a stream must send, computed from the client's own manifest, order and transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import VerificationError
from .dataset import Dataset
from .hashing import Blake3
from .manifest import ManifestFile
from .messages import BatchMessage
from .order import Order
from .plan import BatchPlan
from .transcript import StreamParameters, Transcript, framed_batch_hash


@dataclass(frozen=True)
class Segment:
    """What is fixed for a run of batches."""

    parameters: StreamParameters
    epoch: int
    plan: BatchPlan
    order: Order
    stream_id: str


@dataclass(frozen=True)
class VerifiedBatch:
    message: BatchMessage
    indices: Sequence[int]
    files: Sequence[ManifestFile]
    padded: int
    total_batches: int
    is_last: bool
    transcript_head: bytes


class BatchVerifier:
    """
    Checks every batch of a segment. Nothing that the gateway says is used but the items' bytes.

    :param first_batch: the batch that comes first. Above 0 the chain is brought up to it from the manifest alone, so a
        resumed stream is checked as strictly as an unbroken one, in time proportional to the batches skipped.
    :param blake3: None to believe the gateway in all that takes hashes.
    """

    def __init__(self, dataset: Dataset, segment: Segment, blake3: Blake3 | None, first_batch: int) -> None:
        self._dataset = dataset
        self._segment = segment
        self._blake3 = blake3
        plan = segment.plan
        self._transcript: Transcript | None = None
        if blake3 is not None:
            self._transcript = Transcript(
                segment.parameters, segment.epoch, plan.rank, plan.world_size, plan.start, blake3
            )
        self._chained = 0
        self.next_batch = first_batch

    @property
    def complete(self) -> bool:
        return self.next_batch >= self._segment.plan.total_batches

    def verify(self, message: BatchMessage) -> VerifiedBatch:
        """
        :raises VerificationError: naming the first thing that differs. The verifier still expects the same batch then.
        """
        index, plan = self.next_batch, self._segment.plan
        total = plan.total_batches
        if index >= total:
            raise VerificationError.of(
                "batch index", f"the end after {total} batches", message.batch_index, batch=index
            )
        self._same("batch index", index, message.batch_index)
        self._same("stream", self._segment.stream_id, message.stream_id)
        self._same("stream", f"epoch {self._segment.epoch}", f"epoch {message.epoch}")
        self._same("total batches", total, message.total_batches)
        is_last = index == total - 1
        self._same("is_last", is_last, message.is_last)
        indices, padded = self._expected(index)
        self._same("order", indices, message.item_indices)
        self._same("order", f"{padded} padded items", f"{message.padded_items} padded items")
        self._same("order", f"{len(indices)} items", f"{len(message.items)} items")
        self._same("item hash", f"{len(indices)} hashes", f"{len(message.item_hashes)} hashes")
        files = [self._dataset.manifest.file(each) for each in indices]
        head = message.transcript_head
        if self._blake3 is not None:
            self._verify_hashes(message, indices, files, self._blake3)
            head = self._advanced(index, indices, files, message.transcript_head)
        self.next_batch = index + 1
        return VerifiedBatch(message, indices, files, padded, total, is_last, head)

    def _verify_hashes(
        self, message: BatchMessage, indices: Sequence[int], files: Sequence[ManifestFile], blake3: Blake3
    ) -> None:
        for item, file, announced in zip(indices, files, message.item_hashes):
            self._same("item hash", file.content_hash.hex(), announced.hex(), item=item, path=file.path)
        hashes = [file.content_hash for file in files]
        for item, file, data in zip(indices, files, message.items):
            self._same("item", file.content_hash.hex(), blake3.hash(data).hex(), item=item, path=file.path)
        if self._segment.parameters.batch_hash == "framed":
            own = framed_batch_hash(self.next_batch, [file.size for file in files], hashes, blake3)
        else:
            own = blake3.hash_of_all(message.items)
        self._same("batch hash", own.hex(), message.batch_hash.hex())

    def _advanced(self, index: int, indices: Sequence[int], files: Sequence[ManifestFile], announced: bytes) -> bytes:
        assert self._transcript is not None
        for earlier in range(self._chained, index):
            skipped, _ = self._expected(earlier)
            hashes = [self._dataset.manifest.content_hash(each) for each in skipped]
            self._transcript.advance(earlier, skipped, hashes)
            self._chained = earlier + 1
        head = self._transcript.advance(index, indices, [file.content_hash for file in files])
        self._chained = index + 1
        self._same("transcript", head.hex(), announced.hex())
        return head

    def _expected(self, index: int) -> tuple[list[int], int]:
        positions, padded = self._segment.plan.positions(index)
        return [self._segment.order.item_at(position) for position in positions], padded

    def _same(self, subject: str, expected: object, actual: object, **where: object) -> None:
        if expected != actual:
            raise VerificationError.of(subject, expected, actual, batch=self.next_batch, **where)
