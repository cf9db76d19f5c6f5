"""One batch, however it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakMethod

from .errors import FailedPreconditionError, UnavailableError
from .options import ItemError
from .position import StreamPosition
from .tensors import as_tensor, copy_of, integers

if TYPE_CHECKING:
    from .mixing import MixturePlace


class Holding(Protocol):
    """What a batch asks of the stream that it came from, while it is held."""

    def data(self, on_host: bool) -> Any:
        """The items' memory as a `RingArray`, or the same on the stream's device."""
        ...

    def ends(self) -> Sequence[int] | None:
        """Where each item ends in the data, where items are plain bytes."""
        ...

    def undecoded(self) -> str | None:
        """Where items are plain bytes that could have been decoded: what for."""
        ...

    def labels(self) -> Sequence[int] | None: ...

    def indices(self) -> Sequence[int]: ...

    def paths(self) -> Sequence[str]: ...

    def keep(self) -> None:
        """Raises where keeping one more would leave the stream without memory to go on."""
        ...


class Acknowledging(Protocol):
    def acknowledge(self, holding: Any, checkpoint: bool) -> None: ...


class Batch:
    """
    Verified, decoded items.

    Its memory is lent: it goes back to be filled again when the next batch is asked for **and** nothing refers to it
    any more, neither this batch (`keep`) nor a tensor that `to_tensor` gave. So nothing that a program still holds
    is ever overwritten; who holds as many batches as there are slots gets a `ResourceExhaustedError`, and should `copy`.
    """

    index: int
    """Counted from the position where this segment of the epoch began."""
    epoch: int
    total_batches: int
    """Of this rank, from that position to the end of the epoch."""
    is_last: bool
    """Of its epoch."""
    padded: int
    """How many items at the end repeat earlier ones (``tail="pad"``)."""
    position: StreamPosition
    """A stream that begins here goes on with the next batch. Store it with the model."""
    errors: Sequence[ItemError]
    """Items that were left out because they could not be decoded."""
    dataset: str
    """Content hash of the dataset, hexadecimal."""
    mixture: MixturePlace | None
    """Its place in the mixture that gave it, where one did."""

    def __init__(
        self,
        *,
        stream: Acknowledging,
        holding: Holding,
        count: int,
        index: int,
        epoch: int,
        total_batches: int,
        is_last: bool,
        padded: int,
        position: StreamPosition,
        errors: Sequence[ItemError],
        dataset: str,
        framework: str,
        device: str | None,
    ) -> None:
        self._stream = stream
        self._holding: Holding | None = holding
        self._count = count
        self._framework = framework
        self._device = device
        self._kept = False
        self._ask_again: WeakMethod[Callable[[Batch, UnavailableError], Sequence[str]]] | None = None
        self._paths: Sequence[str] | None = None
        self._indices: list[int] | None = None
        self.index, self.epoch, self.total_batches = index, epoch, total_batches
        self.is_last, self.padded, self.position = is_last, padded, position
        self.errors, self.dataset = errors, dataset
        self.mixture: MixturePlace | None = None

    def __len__(self) -> int:
        return self._count

    def to_tensor(self, framework: str | None = None, *, copy: bool = False) -> Any:
        """
        All items in one tensor, first dimension the items: on the stream's device for torch, in host memory for
        ``"numpy"`` and ``"memoryview"``. Without a copy unless asked for, and then it may be written to.
        """
        holding = self._held()
        if holding.ends() is not None:
            raise FailedPreconditionError(
                holding.undecoded()
                or "The items of this dataset are plain bytes, which make no tensor: use batch.items.",
                {"field": "format"},
            )
        framework = framework or self._framework
        device = self._device if framework == "torch" else None
        tensor = as_tensor(holding.data(on_host=framework != "torch"), framework, device)
        return copy_of(tensor, framework) if copy else tensor

    def to_numpy(self, *, copy: bool = False) -> Any:
        return self.to_tensor("numpy", copy=copy)

    @property
    def items(self) -> list[memoryview]:
        """The items one by one, as views: elements for tensors, bytes as stored for all else."""
        holding = self._held()
        ends = holding.ends()
        view = holding.data(on_host=True).memoryview()
        if ends is None:
            flat = view.cast("B")
            size = len(flat) // max(1, self._count)
            return [flat[i * size : (i + 1) * size] for i in range(self._count)]
        return [view[start:end] for start, end in zip([0, *ends], ends)]

    @property
    def labels(self) -> Any:
        """
        Class of each item, from its path as the schema says, else None. A copy: int64 of the framework on the tensor's
        device, a list without any.
        """
        labels = self._held().labels()
        if labels is None:
            return None
        return integers(labels, self._framework, self._device if self._framework == "torch" else None)

    @property
    def indices(self) -> list[int]:
        """Index of each item in the dataset's manifest."""
        if self._indices is None:
            self._indices = list(self._held().indices())
        return self._indices

    @property
    def paths(self) -> Sequence[str]:
        """Path of each item in the dataset."""
        if self._paths is None:
            try:
                self._paths = tuple(self._held().paths())
            except UnavailableError as error:
                ask_again = None if self._ask_again is None else self._ask_again()
                if ask_again is None:
                    raise
                self._paths = tuple(ask_again(self, error))
        return self._paths

    def keep(self) -> Batch:
        """
        Keeps the batch when the next is asked for, until `release` or the end of a ``with`` statement.

        :raises ResourceExhaustedError: when nothing would be left to receive into. `to_tensor(copy=True)` always works.
        """
        if not self._kept:
            self._held().keep()
            self._kept = True
        return self

    def acknowledge(self, *, checkpoint: bool = False) -> None:
        """
        Tells the gateway that this batch and all before it are done with. Happens by itself when the next is asked for.

        :param checkpoint: the position was stored: a run of another world size may start here.
        """
        self._stream.acknowledge(self._held(), checkpoint)

    def release(self) -> None:
        """Acknowledges the batch and lets go of it now. Tensors that were made of it stay good, and hold its memory."""
        if self._holding is not None:
            self._stream.acknowledge(self._holding, False)
        self._let_go()

    @property
    def released(self) -> bool:
        return self._holding is None

    def _pass(self) -> None:
        """The next batch is asked for: this one is done with."""
        if self._holding is not None:
            self._stream.acknowledge(self._holding, False)
        if not self._kept:
            self._let_go()

    def _let_go(self) -> None:
        self._kept = False
        self._holding = None

    def _held(self) -> Holding:
        if self._holding is None:
            raise FailedPreconditionError(
                "This batch was released when the next one was asked for. Use it before, or call keep() in time.",
                {"field": "batch"},
            )
        return self._holding

    def __enter__(self) -> Batch:
        return self.keep()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.release()
        else:
            self._let_go()

    def __repr__(self) -> str:
        return f"<Batch {self.index} of epoch {self.epoch}: {self._count} items>"
