"""The socket of a handoff: one JSON object a line, both ways."""

from __future__ import annotations

import json
import os
import select
import socket
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any

from .errors import FailedPreconditionError, InternalError, UnavailableError, error_of

PROTOCOL = 1
CONNECT_TIMEOUT_S = 10.0
#: A companion welcomes at once; this is for one that a busy machine lets wait, not for one that does not run on.
WELCOME_TIMEOUT_S = 30.0
#: Another companion may go on.
_GONE = {"reason": "gone"}


class Line:
    """The socket: one JSON object a line, both ways."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.process = os.getpid()
        self.closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = bytearray()
        self._lines: deque[bytes] = deque()
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.connect(path)
            self._socket.settimeout(None)
        except OSError as error:
            self._socket.close()
            raise UnavailableError(f"The companion's socket {path} cannot be reached ({error}).", _GONE) from error
        _open_lines.add(self)

    def send(self, message: Mapping[str, Any]) -> None:
        """Callers take turns: a line must not end up inside another."""
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            self._socket.sendall(line)
        except OSError as error:
            raise UnavailableError(f"The connection to the companion broke ({error}).", _GONE) from error

    def ready(self, timeout: float | None) -> bool:
        """Whether `receive` would not wait."""
        if self._lines:
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except (OSError, ValueError):
            return True
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def receive(self) -> dict[str, Any]:
        """
        The next message; waits for it.

        :raises DataStreamError: the companion's own error, or ``unavailable`` when it is gone.
        """
        while not self._lines:
            try:
                piece = self._socket.recv(1 << 16)
            except OSError as error:
                raise UnavailableError(f"The connection to the companion broke ({error}).", _GONE) from error
            if not piece:
                raise UnavailableError("The companion ended without a word.", _GONE)
            self._received += piece
            if b"\n" in piece:
                *whole, rest = bytes(self._received).split(b"\n")
                self._lines.extend(whole)
                self._received = bytearray(rest)
        line = self._lines.popleft()
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise InternalError("The companion sent a line that is no JSON object.")
        if message.get("type") == "error":
            raise error_of(message.get("code"), str(message.get("message")), message.get("details"))
        return message

    def expect(self, *types: str) -> dict[str, Any]:
        message = self.receive()
        if message.get("type") not in types:
            raise InternalError(f"The companion sent {message.get('type')!r} in place of {types[0]!r}.")
        return message

    def drain(self, seconds: float) -> None:
        """Says that nothing more is sent, and waits until the companion has ended the connection, too."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(seconds)
            while self._socket.recv(1 << 16):
                pass
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()
        self.closed = True


_open_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _close_inherited() -> None:
    # The companion must see the end of the parent's connection although a child still lives.
    for line in list(_open_lines):
        line.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def open_line(path: str) -> Line:
    """
    Connects and takes the welcome.

    :raises FailedPreconditionError: for a companion of another protocol.
    """
    line = Line(path)
    try:
        if not line.ready(WELCOME_TIMEOUT_S):
            raise UnavailableError(f"The companion at {path} does not answer.", _GONE)
        welcome = line.expect("welcome")
        if welcome.get("protocol") != PROTOCOL:
            raise FailedPreconditionError(
                f"The companion speaks handoff {welcome.get('protocol')}; this package speaks {PROTOCOL}. Update the older one.",
                {"field": "protocol"},
            )
    except BaseException:
        line.close()
        raise
    return line
