from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_companion import FakeCompanion

VECTORS = Path(__file__).parents[2] / "test" / "vectors"


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


@dataclass(frozen=True)
class World:
    """What test/python/world.ts prepared: a gateway, a token for each dataset, and streams as another client saw them."""

    gateway: str
    tokens: dict[str, str]
    streams: list[dict[str, Any]]


@pytest.fixture(scope="session")
def world() -> World:
    file = os.environ.get("CYXCLOUD_TEST_WORLD")
    assert file, "These tests need a gateway: npx vitest run test/python starts one and runs them."
    return World(**json.loads(Path(file).read_text()))
