"""Options, addresses, and how a companion is found or started."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cyxcloud
from cyxcloud import DataStreamClient
from cyxcloud.address import gateway_of_token, is_bound, parse_address
from cyxcloud.launch import companion_command
from fake_companion import FakeCompanion
from fake_gateway import FakeGateway

TESTS = Path(__file__).parents[1]
FAKE = [sys.executable, str(TESTS / "fake_companion.py")]


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("localhost:50052", "http://localhost:50052"),
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        ("[::1]:7", "http://[::1]:7"),
        ("localhost", "http://localhost:50052"),
        ("gateway:50052", "https://gateway:50052"),
        ("http://gateway", "http://gateway:80"),
        ("https://data.example.com/base/", "https://data.example.com:443/base"),
    ],
)
def test_addresses(text: str, base: str) -> None:
    assert parse_address(text).base == base


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "a:port", "http://u:p@a", "http://a?b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(cyxcloud.InvalidArgumentError, match="address"):
        parse_address(text)


def test_unix_addresses() -> None:
    assert parse_address("unix:/run/x.sock").socket == "/run/x.sock"
    assert parse_address("unix:///run/x.sock").socket == "/run/x.sock"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"seed": 2**64}, "seed"),
        ({"shuffle": "yes"}, "shuffle"),
        ({"tail": "wrap"}, "tail"),
        ({"tail": "pad", "drop_last": True}, "drop_last"),
        ({"on_error": "ignore"}, "on_error"),
        ({"max_trust_level": 5}, "max_trust_level"),
        ({"slots": 1}, "slots"),
        ({"framework": "jax"}, "framework"),
        ({"filter": {"suffix": "x"}}, "filter"),
        ({"block": {"size": 1}}, "block"),
        ({"position": {"epoch": 0}}, "position"),
        ({"position": {"epoch": 0, "start_index": 0, "batch_index": 0, "world_size": 1, "batch_size": 9}}, "position"),
        ({"epoch": -1}, "epoch"),
        ({"epochs": 0}, "epochs"),
        ({"dataset_id": ""}, "dataset_id"),
    ],
)
def test_options_name_the_field(options: dict[str, Any], field: str) -> None:
    client = DataStreamClient("localhost:1", access_token="t", start=False)
    with pytest.raises(cyxcloud.InvalidArgumentError, match=f"^{field}") as caught:
        client.stream_batches(**{"dataset_id": "d", "batch_size": 4, **options})
    assert caught.value.details["field"] == field


def test_a_token_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CYXCLOUD_ACCESS_TOKEN", raising=False)
    with pytest.raises(cyxcloud.InvalidArgumentError, match="access_token: is missing"):
        DataStreamClient("localhost:1", start=False).stream_batches("d")


def token_of(claims: dict[str, Any]) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def test_what_a_token_says_of_its_gateway() -> None:
    assert gateway_of_token(token_of({"iss": "https://data.example.com"})) == "https://data.example.com"
    assert gateway_of_token(token_of({"iss": "urn:cyxcloud:test"})) is None
    assert gateway_of_token("none") is None
    assert is_bound(token_of({"cnf": {"jkt": "x"}}))
    assert not is_bound(token_of({}))


def test_a_bound_token_needs_a_companion() -> None:
    gateway = FakeGateway()
    try:
        with pytest.raises(cyxcloud.FailedPreconditionError, match="bound to a training node"):
            DataStreamClient(gateway.url, pins=None).describe("letters", token_of({"cnf": {"jkt": "x"}}))
    finally:
        gateway.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_starts_one_companion_for_many_processes_and_finds_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    script = (
        "import cyxcloud, sys;"
        f"client = cyxcloud.DataStreamClient('127.0.0.1:{port}', access_token='t', gateway='http://gateway.test');"
        "print(sum(len(batch) for batch in client.stream_batches('fake', batch_size=4)))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
        "CYXCLOUD_COMPANION": " ".join(FAKE),
    }
    ranks = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [rank.communicate(timeout=60)[0].strip() for rank in ranks] == ["40"] * 3
    from cyxcloud.address import probe

    found = probe(parse_address(f"127.0.0.1:{port}"))
    assert found is not None
    assert found.pid is not None
    try:
        assert found.gateway == "http://gateway.test"
        assert oct((tmp_path / "cyxcloud").stat().st_mode & 0o777) == "0o700"
    finally:
        os.kill(found.pid, signal.SIGTERM)


def test_a_companion_that_does_not_come_up_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS.parent), str(TESTS)]))
    client = DataStreamClient(f"127.0.0.1:{free_port()}", access_token="t", companion=[*FAKE, "--fail"])
    with pytest.raises(cyxcloud.UnavailableError, match="no gateway is known"):
        client.stream_batches("fake")


def test_nothing_is_started_on_other_machines_or_against_ones_will() -> None:
    with pytest.raises(cyxcloud.UnavailableError, match="Nothing listens"):
        DataStreamClient(f"127.0.0.1:{free_port()}", access_token="t", start=False).stream_batches("d")


def test_where_no_companion_can_be_found_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CYXCLOUD_COMPANION", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("cyxcloud.launch._packaged", lambda: tmp_path / "none")
    with pytest.raises(cyxcloud.FailedPreconditionError, match=r"cyxcloud\[companion\]"):
        companion_command()
    assert companion_command("node 'my companion.mjs'") == ["node", "my companion.mjs"]
    monkeypatch.setenv("CYXCLOUD_COMPANION", "/opt/companion --quiet")
    assert companion_command() == ["/opt/companion", "--quiet"]


def test_a_companion_that_knows_no_gateway(companion: Callable[..., FakeCompanion]) -> None:
    error = {"code": "failed_precondition", "message": "gateway: none.", "details": {"field": "gateway"}}
    client = DataStreamClient(f"unix:{companion(error=error).path}", access_token="t")
    for call in (client.describe, client.stream_batches):
        with pytest.raises(cyxcloud.FailedPreconditionError, match="CYXCLOUD_GATEWAY"):
            call("d")


def test_clients_can_be_pickled() -> None:
    client = DataStreamClient("localhost:1", access_token="t", gateway="http://g", pins="~/p.json")
    again = pickle.loads(pickle.dumps(client))
    assert again.address == client.address
    assert again._gateway == "http://g"


def test_errors_can_be_made_from_a_lone_message() -> None:
    for each in cyxcloud.errors._CLASSES.values():
        made = each("what a worker said")
        assert (str(made), made.details, made.code in cyxcloud.errors._CLASSES) == ("what a worker said", {}, True)
