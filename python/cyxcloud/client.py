"""The client: finds who serves batches, and streams them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from . import address as addresses
from . import handoff
from .address import CompanionAddress, NobodyThere, gateway_of_token, is_bound, parse_address, probe
from .direct import stream as direct
from .direct.hashing import blake3_for
from .direct.http import Gateway
from .direct.pins import DEFAULT_FILE, PinFile
from .errors import FailedPreconditionError
from .iterator import BatchIterator, Source
from .launch import Command, companion_command, start_companion
from .options import OnError, StreamOptions, stream_options
from .position import StreamPosition, next_item, position_of
from .tensors import default_framework


class DataStreamClient:
    """
    Streams datasets from a companion on this machine, or straight from a gateway.

    Holds no connection of its own: it may be pickled, copied into DataLoader workers, and used after a fork.

    :param address: ``host:port`` or URL of a companion or a gateway, or ``unix:PATH`` of a companion's socket. Where
        nothing listens on this machine, a companion is started. Default: ``CYXCLOUD_COMPANION_ADDRESS``, else
        ``localhost:50052``.
    :param gateway: the gateway that a companion shall use. Default: ``CYXCLOUD_GATEWAY``, else the issuer of the access token
        where that is a URL, else the companion's own.
    :param access_token: for streams that are given none. Default: ``CYXCLOUD_ACCESS_TOKEN``.
    :param verify: False accepts whatever a gateway sends, where no companion stands between. A companion always verifies.
    :param start: whether a companion may be started.
    :param companion: its command, in place of ``CYXCLOUD_COMPANION``, the path and the packaged one.
    :param pins: file that remembers dataset versions between runs, where no companion does; None forgets them.
    :param tls: for gateways whose certificate the system does not know. Not pickled.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        gateway: str | None = None,
        access_token: str | None = None,
        verify: bool = True,
        start: bool = True,
        companion: Command | None = None,
        pins: str | os.PathLike[str] | None = DEFAULT_FILE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        chosen = address or os.environ.get("CYXCLOUD_COMPANION_ADDRESS") or addresses.DEFAULT_ADDRESS
        self.address = parse_address(chosen)
        self.verify = verify
        self._gateway = gateway or os.environ.get("CYXCLOUD_GATEWAY") or None
        self._token = access_token or os.environ.get("CYXCLOUD_ACCESS_TOKEN") or None
        self._start = start
        self._command = companion
        self._pins = PinFile(None if pins is None else os.fspath(pins))
        self._tls = tls

    def stream_batches(
        self,
        dataset_id: str,
        access_token: str | None = None,
        batch_size: int = 32,
        *,
        prefetch_batches: int | None = None,
        max_trust_level: int = 0,
        shuffle: bool | str = False,
        seed: int = 0,
        epoch: int | None = None,
        epochs: int = 1,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        tail: str | None = None,
        filter: str | Sequence[str] | Mapping[str, Any] | None = None,  # noqa: A002
        processing: Mapping[str, Any] | None = None,
        on_error: OnError = "raise",
        position: Mapping[str, Any] | None = None,
        stream_id: str | None = None,
        cache: bool | None = None,
        slots: int | None = None,
        block: Mapping[str, int] | None = None,
        schema_hash: str | None = None,
        known_keys: str | None = None,
        backend: str | None = None,
        framework: str | None = None,
        device: Any = None,
        progress: bool = False,
    ) -> BatchIterator:
        """
        Verified batches in the order that these options fix.

        :param dataset_id: UUID, ``name``, ``owner/name``, ``name@version``, or ``name@blake3:HEX``, which pins the content.
        :param batch_size: items of a batch, for each rank.
        :param prefetch_batches: batches made ready ahead of the loop.
        :param max_trust_level: highest acceptable level of trust; 0 accepts one's own data alone.
        :param shuffle: False: manifest order. True or ``"full"``: any item anywhere. ``"block"``: shuffles blocks, and
            reads neighbours together. The order depends on ``seed`` and epoch, never on the world size.
        :param epoch: the first, default 0; ``epochs`` how many one after the other.
        :param drop_last: short for ``tail="drop_last"``: only batches that are full on every rank. ``tail="pad"`` fills the
            last ones by repetition, ``"short"`` (default) sends what there is.
        :param filter: a path prefix, a glob or a list of globs, or ``{"prefix": …, "globs": […]}``.
        :param processing: steps that the companion applies to decoded items: docs/formats/processing-v1.md.
        :param on_error: what an item does that cannot be decoded: ``"raise"`` ends the stream, ``"skip"`` leaves it out,
            ``"warn"`` says so, and a callable is given each `ItemError`. They are in `Batch.errors`, too.
        :param position: of a batch, from an earlier run: goes on behind it, at any world size. Wins over ``epoch``.
        :param stream_id: shared by the ranks of a run; a known one without a position goes on behind its last acknowledgement.
        :param cache: False: past the companion's local cache.
        :param slots: batches that exist at once, those that the program holds included; default ``prefetch_batches`` + 2.
        :param block: ``block_size``, ``lanes`` and ``blocks_per_group`` of ``shuffle="block"``; by item size where left out.
        :param schema_hash: hexadecimal; what the items mean must have this hash.
        :param known_keys: file of keys known from elsewhere, one of which must have signed the version to count as pinned.
        :param backend: ``"auto"``, ``"shm"``, ``"cuda-hostreg"`` or ``"cuda-ipc"``: how a companion hands over.
        :param framework: ``"torch"``, ``"numpy"`` or ``"memoryview"`` for `Batch.to_tensor`; default: the first installed.
        :param device: where torch tensors shall be, such as ``"cuda:0"`` or ``"cpu"``.
        :param progress: show a bar, where tqdm is installed.
        :raises DataStreamError: of a class for each code.
        """
        options = self._options(locals())
        return BatchIterator(self._open, options, progress)

    def describe(
        self, dataset_id: str, access_token: str | None = None, batch_size: int = 32, **asked: Any
    ) -> dict[str, Any]:
        """
        What `stream_batches` with the same arguments would be, without starting it: ``dataset``, ``count`` of items,
        ``batches_per_epoch`` and ``total_batches`` of this rank, ``format``.
        """
        return self.prepare(dataset_id, access_token, batch_size, **asked).describe()

    def prepare(
        self, dataset_id: str, access_token: str | None = None, batch_size: int = 32, **asked: Any
    ) -> PreparedStream:
        """A stream that is not begun yet, for `mix`; the arguments are those of `stream_batches`, but for ``progress``."""
        unknown = set(asked) - set(_DEFAULTS)
        if unknown:
            raise TypeError(f"stream_batches() got an unexpected keyword argument {min(unknown)!r}")
        named = {"dataset_id": dataset_id, "access_token": access_token, "batch_size": batch_size}
        return PreparedStream(self, self._options({**_DEFAULTS, **asked, **named}))

    def _restarted(self, options: StreamOptions) -> StreamOptions:
        """A position of another batch size, but of equal global batches, as the beginning of a segment of its own."""
        position = options.position
        if position is None or position["batch_size"] == options.batch_size:
            return options
        count = self._describe(replace(options, position=None))["count"]
        start = StreamPosition(
            epoch=position["epoch"],
            # Behind a short batch the next item would be past the end.
            start_index=min(next_item(position), count),
            batch_index=0,
            world_size=options.world_size,
            batch_size=options.batch_size,
        )
        return replace(options, position=start)

    def _describe(self, options: StreamOptions) -> dict[str, Any]:
        options = self._restarted(options)
        companion = self._companion(options)
        if companion is None:
            return direct.describe(self._direct_gateway(options), options, self._pins, blake3_for(self.verify))
        with _gateway_named():
            return handoff.describe(companion.handoff_socket, options, self._gateway_for(options))

    def _options(self, given: Mapping[str, Any]) -> StreamOptions:
        asked = {name: given[name] for name in _DEFAULTS}
        asked["access_token"] = asked["access_token"] or self._token
        return stream_options(**asked)

    def _open(self, options: StreamOptions) -> Source:
        framework = options.framework or default_framework()
        options = self._restarted(options)
        companion = self._companion(options)
        if companion is None:
            gateway = self._direct_gateway(options)
            return direct.open_stream(gateway, options, self._pins, blake3_for(self.verify), framework)
        with _gateway_named():
            return handoff.open_stream(companion.handoff_socket, options, self._gateway_for(options), framework)

    def _companion(self, options: StreamOptions) -> CompanionAddress | None:
        """Who serves: None is a gateway that is asked directly."""
        try:
            found = probe(self.address, self._tls)
        except NobodyThere:
            if not (self._start and self.address.is_loopback and self.address.scheme == "http"):
                raise
            command = companion_command(self._command)
            found = start_companion(self.address, command, self._gateway_for(options))
        if found is not None and not self.address.is_loopback:
            raise FailedPreconditionError(
                f"{self.address.base} is a companion on another machine, and memory cannot be shared with it. Use one on this "
                "machine (localhost:50052), or the gateway's address.",
                {"field": "address"},
            )
        return found

    def _direct_gateway(self, options: StreamOptions) -> Gateway:
        if is_bound(options.access_token):
            raise FailedPreconditionError(
                "This access token is bound to a training node, whose key only a companion can prove. Use a companion.",
                {"field": "access_token"},
            )
        return Gateway(self.address.base, self._tls)

    def _gateway_for(self, options: StreamOptions) -> str | None:
        return self._gateway or gateway_of_token(options.access_token)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tls": None}


class PreparedStream:
    """What to stream and from where, checked, but not begun. Made by `DataStreamClient.prepare`."""

    def __init__(self, client: DataStreamClient, options: StreamOptions) -> None:
        self.options = options
        self._client = client

    def describe(self, *, position: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `DataStreamClient.describe`."""
        return self._client._describe(self._at(position, None))

    def open(
        self, *, position: Mapping[str, Any] | None = None, epochs: int | None = None, progress: bool = False
    ) -> BatchIterator:
        """
        :param position: in place of the stream's own beginning; ``epochs`` count from it.
        """
        return BatchIterator(self._client._open, self._at(position, epochs), progress)

    def _at(self, position: Mapping[str, Any] | None, epochs: int | None) -> StreamOptions:
        options = self.options if epochs is None else replace(self.options, epochs=epochs)
        if position is None:
            return options
        stands = position_of(position)
        return replace(options, position=stands, epoch=stands["epoch"])


@contextmanager
def _gateway_named() -> Iterator[None]:
    """Says in this package's words what a companion lacks that knows no gateway."""
    try:
        yield
    except FailedPreconditionError as error:
        if error.details.get("field") != "gateway":
            raise
        raise FailedPreconditionError(
            "gateway: neither the companion nor the access token names one. Pass DataStreamClient(gateway=…), or set "
            "CYXCLOUD_GATEWAY.",
            error.details,
        ) from error


#: Of `stream_options`, in the words of `stream_batches`.
_DEFAULTS: dict[str, Any] = {
    "dataset_id": None,
    "access_token": None,
    "batch_size": 32,
    "prefetch_batches": None,
    "max_trust_level": 0,
    "shuffle": False,
    "seed": 0,
    "epoch": None,
    "epochs": 1,
    "rank": 0,
    "world_size": 1,
    "drop_last": False,
    "tail": None,
    "filter": None,
    "processing": None,
    "on_error": "raise",
    "position": None,
    "stream_id": None,
    "cache": None,
    "slots": None,
    "block": None,
    "schema_hash": None,
    "known_keys": None,
    "backend": None,
    "framework": None,
    "device": None,
}
