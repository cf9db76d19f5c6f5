from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cyxcloud
from cyxcloud.address import parse_address, probe
from fake_companion import FakeCompanion
from world import World


@pytest.fixture
def companion(tmp_path: Path) -> Iterator[Callable[..., FakeCompanion]]:
    """Makes fake companions; each must have been left by its clients when the test ends."""
    made: list[FakeCompanion] = []

    def make(**options: Any) -> FakeCompanion:
        folder = tmp_path / f"companion-{len(made)}"
        folder.mkdir()
        made.append(FakeCompanion(folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def world() -> World:
    file = os.environ.get("CYXCLOUD_TEST_WORLD")
    assert file, "These tests need a gateway: npx vitest run test/python starts one and runs them."
    return World(**json.loads(Path(file).read_text()))


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where no companion runs yet."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        chosen = f"127.0.0.1:{probing.getsockname()[1]}"
    environment = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    environment.setenv("XDG_RUNTIME_DIR", str(home))
    environment.setenv("HOME", str(home))
    yield chosen
    try:
        found = probe(parse_address(chosen))
        if found is not None and found.pid is not None:
            os.kill(found.pid, signal.SIGTERM)
    except cyxcloud.UnavailableError:
        pass
    environment.undo()
