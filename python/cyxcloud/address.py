"""Who answers at an address: a companion, a gateway, or nobody."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import Any

from .errors import FailedPreconditionError, UnavailableError, invalid_argument

DEFAULT_ADDRESS = "localhost:50052"
DEFAULT_PORT = 50052
WELL_KNOWN = "/.well-known/cyxcloud-companion"
PROBE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Address:
    """Where to look. `socket` where a companion's Unix socket was named itself."""

    scheme: str
    host: str
    port: int
    path: str = ""
    socket: str | None = None

    @property
    def base(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """
    ``host:port``, an http(s) URL, or ``unix:/path/of/a.sock``. Without a scheme, this machine is asked over http and any
    other over https.

    :raises InvalidArgumentError: for anything else.
    """
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        return Address("unix", "localhost", 0, "", f"/{path.lstrip('/')}" if path.startswith("//") else path)
    has_scheme = "://" in text
    try:
        url = urllib.parse.urlsplit(text if has_scheme else f"//{text}")
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
        url = urllib.parse.urlsplit("")
    if not host or (has_scheme and url.scheme not in ("http", "https")) or url.username or url.query:
        raise invalid_argument("address", f"must be host:port, an http(s) URL or unix:PATH, not {text!r}.")
    if has_scheme:
        return Address(url.scheme, host, port or (443 if url.scheme == "https" else 80), url.path.rstrip("/"))
    plain = Address("http", host, port or DEFAULT_PORT, url.path.rstrip("/"))
    return plain if plain.is_loopback else Address("https", plain.host, plain.port, plain.path)


@dataclass(frozen=True)
class CompanionAddress:
    """What a companion says of itself."""

    handoff_socket: str
    pid: int | None
    version: str | None
    gateway: str | None


class NobodyThere(UnavailableError):
    """Nothing listens at the address."""


def probe(address: Address, tls: ssl.SSLContext | None = None) -> CompanionAddress | None:
    """
    Asks who is there. None is a gateway, or something that behaves like one.

    :raises NobodyThere: where the connection is refused.
    :raises UnavailableError: where there is no answer.
    """
    if address.socket is not None:
        return CompanionAddress(address.socket, None, None, None)
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        tls = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(address.host, address.port, timeout=PROBE_TIMEOUT_S, context=tls)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", address.path + WELL_KNOWN, headers={"accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(1 << 16)
    except ConnectionRefusedError as error:
        raise NobodyThere(f"Nothing listens at {address.base}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{address.base} does not answer ({error}).") from error
    finally:
        connection.close()
    return _companion_of(body) if answer.status == 200 else None


def _companion_of(body: bytes) -> CompanionAddress | None:
    try:
        said: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(said, dict) or "handoff_socket" not in said:
        return None
    if said.get("protocol") != 1:
        raise FailedPreconditionError(
            f"The companion speaks handoff {said.get('protocol')}; this package speaks 1. Update the older one.",
            {"field": "protocol"},
        )
    return CompanionAddress(
        str(said["handoff_socket"]), said.get("pid"), said.get("version"), said.get("gateway") or None
    )


def gateway_of_token(token: str) -> str | None:
    """The issuer of an access token, where it is a URL: the gateway itself. Only read here, never trusted."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer = claims["iss"]
        return issuer if isinstance(issuer, str) and issuer.startswith(("http://", "https://")) else None
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def is_bound(token: str) -> bool:
    """Whether a token is good only together with a node's key or certificate."""
    try:
        payload = token.split(".")[1]
        return "cnf" in json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, TypeError):
        return False
