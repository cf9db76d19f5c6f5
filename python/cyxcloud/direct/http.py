"""The HTTP side of a gateway: addresses, credentials, problems to errors, gRPC-Web frames. Standard library alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import DataStreamError, InternalError, UnavailableError, error_of, invalid_argument

SERVICE = "/cyxcloud.datastream.DataStreamService/"
CONNECT_TIMEOUT_S = 10.0
#: A gateway that has no memory free lets a request wait for 20 s.
ANSWER_TIMEOUT_S = 60.0
#: A full batch of 32 MiB with its hashes, indices and framing.
MESSAGE_MAX_BYTES = 40 * 1024 * 1024

_CODE_OF_STATUS = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "not_found",
    409: "failed_precondition",
    411: "invalid_argument",
    413: "invalid_argument",
    416: "invalid_argument",
    429: "resource_exhausted",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
#: https://grpc.io/docs/guides/status-codes/
_CODE_OF_GRPC_STATUS = {
    1: "canceled",
    3: "invalid_argument",
    4: "unavailable",
    5: "not_found",
    6: "already_exists",
    7: "permission_denied",
    8: "resource_exhausted",
    9: "failed_precondition",
    10: "aborted",
    13: "internal",
    14: "unavailable",
    15: "data_loss",
    16: "unauthenticated",
}
_TRAILER = 0x80
_COMPRESSED = 0x01
_PATH_SAFE = "-_.!~*'()"


class Gateway:
    """Requests to one gateway. May be used by several threads, and after a fork."""

    def __init__(self, base: str, tls: ssl.SSLContext | None = None) -> None:
        url = urllib.parse.urlsplit(base)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise invalid_argument("gateway", f"must be a URL such as https://data.example.com, not {base}.")
        self.base = base.rstrip("/")
        self._url = url
        self._prefix = url.path.rstrip("/")
        self._tls = tls
        # One connection waits for the next request; more at once are closed after their own.
        self._idle: tuple[int, http.client.HTTPConnection] | None = None
        self._taking = threading.Lock()

    def json(self, route: str, token: str | None) -> Any:
        body = self.request("GET", route, token)
        try:
            return json.loads(body)
        except ValueError:
            raise UnavailableError("The gateway's answer is no JSON.") from None

    def request(
        self,
        method: str,
        route: str,
        token: str | None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """
        A request whose answer is read whole, over a connection that stays open for the next.

        :raises DataStreamError: with the code of the answered problem; ``unavailable`` when there is no answer.
        """
        connection = self._kept()
        reused = connection is not None
        while True:
            connection = connection or self._connect()
            try:
                answer = self._ask(connection, method, route, token, body, headers)
                data = answer.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not reused:
                    raise self._unreachable(error) from error
                # A connection that stood idle may have been closed meanwhile.
                connection, reused = None, False
            except BaseException:
                connection.close()
                raise
        self._keep(connection)
        if not 200 <= answer.status < 300:
            raise _problem(answer.status, data)
        return data

    def call(self, method: str, token: str, message: bytes) -> bytes:
        """A unary call of the service over gRPC-Web: the answer's message."""
        framed = len(message).to_bytes(5, "big") + message
        data = self.request("POST", f"{SERVICE}{method}", token, framed, _GRPC_WEB)
        found = b""
        at = 0
        while at + 5 <= len(data):
            flags, length = data[at], int.from_bytes(data[at + 1 : at + 5], "big")
            payload = data[at + 5 : at + 5 + length]
            if flags & _TRAILER:
                check_status(_trailers(payload))
                return found
            found = payload
            at += 5 + length
        raise UnavailableError("The gateway's answer ended too early.")

    def stream(self, method: str, token: str, message: bytes) -> FrameReader:
        """A streaming call over gRPC-Web, on a connection of its own."""
        connection = self._connect()
        try:
            framed = len(message).to_bytes(5, "big") + message
            answer = self._ask(connection, "POST", f"{SERVICE}{method}", token, framed, _GRPC_WEB)
            if answer.status != 200:
                raise _problem(answer.status, answer.read())
            if answer.headers.get("grpc-status"):
                check_status({name.lower(): value for name, value in answer.headers.items()})
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        except BaseException:
            connection.close()
            raise
        return FrameReader(connection, answer)

    def _connect(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port, timeout=CONNECT_TIMEOUT_S)
        tls = self._tls or ssl.create_default_context()
        return http.client.HTTPSConnection(host, self._url.port, timeout=CONNECT_TIMEOUT_S, context=tls)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        route: str,
        token: str | None,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.connect()
            sock: Any = connection.sock
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(ANSWER_TIMEOUT_S)
        sent = {"user-agent": "cyxcloud-python", "accept-encoding": "identity", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        connection.request(method, self._prefix + route, body=body, headers=sent)
        return connection.getresponse()

    def _kept(self) -> http.client.HTTPConnection | None:
        with self._taking:
            kept, self._idle = self._idle, None
        # A connection from before a fork is the parent's.
        return kept[1] if kept is not None and kept[0] == os.getpid() else None

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._taking:
            if self._idle is None:
                self._idle = (os.getpid(), connection)
                return
        connection.close()

    def __del__(self) -> None:
        idle = getattr(self, "_idle", None)
        if idle is not None:
            idle[1].close()

    def _unreachable(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"The gateway at {self.base} cannot be reached ({error}).")

    def __getstate__(self) -> dict[str, Any]:
        return {"base": self.base}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["base"])  # type: ignore[misc]


_GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}


class FrameReader:
    """The messages of a streaming answer, each in memory of its own."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._socket = connection.sock
        self._answer = answer
        self.trailers: Mapping[str, str] = {}

    def __iter__(self) -> Iterator[memoryview]:
        """
        :raises DataStreamError: with the code that the gateway ended with; ``unavailable`` when the connection breaks.
        """
        try:
            while True:
                header = self._take(5)
                flags, length = header[0], int.from_bytes(header[1:5], "big")
                if flags & _COMPRESSED:
                    raise UnavailableError("The gateway sent a compressed message although none was asked for.")
                if length > MESSAGE_MAX_BYTES:
                    raise UnavailableError(
                        f"The gateway sent a message of {length} bytes; {MESSAGE_MAX_BYTES} is the most."
                    )
                payload = self._take(length)
                if flags & _TRAILER:
                    self.trailers = _trailers(bytes(payload))
                    check_status(self.trailers)
                    return
                yield payload
        finally:
            self._connection.close()

    def cancel(self) -> None:
        """Ends a read that waits in another thread."""
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _take(self, length: int) -> memoryview:
        taken = memoryview(bytearray(length))
        filled = 0
        try:
            while filled < length:
                count = self._answer.readinto(taken[filled:])
                if not count:
                    raise UnavailableError("The connection ended before the stream did.")
                filled += count
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, DataStreamError):
                raise
            raise UnavailableError(f"The connection to the gateway broke ({error}).") from error
        return taken


def check_status(trailers: Mapping[str, str]) -> None:
    status = trailers.get("grpc-status", "")
    if status == "0":
        return
    message = urllib.parse.unquote(trailers.get("grpc-message", "")) or "The gateway ended the stream."
    code = _CODE_OF_GRPC_STATUS.get(int(status)) if status.isdigit() else None
    raise error_of(code, message)


def path_of(*segments: str | int) -> str:
    """Joins path segments, each percent-encoded."""
    return "/" + "/".join(urllib.parse.quote(str(segment), safe=_PATH_SAFE) for segment in segments)


def _trailers(payload: bytes) -> dict[str, str]:
    found = {}
    for line in payload.decode("utf-8", "replace").split("\r\n"):
        name, separator, value = line.partition(":")
        if separator:
            found[name.strip().lower()] = value.strip()
    return found


def _problem(status: int, body: bytes) -> DataStreamError:
    """From an RFC 9457 problem; anything else was answered by something between here and the gateway."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    message = problem.get("detail") or problem.get("title") or f"The gateway answered {status}."
    known = ("type", "title", "detail", "code", "status")
    details = {
        name: value
        for name, value in problem.items()
        if name not in known and isinstance(value, (str, int, float, bool))
    }
    error = error_of(problem.get("code"), str(message), details)
    if isinstance(error, InternalError):
        error = error_of(_CODE_OF_STATUS.get(status, "internal"), str(message), details)
    return error
