from __future__ import annotations

from collections.abc import Callable, Iterator
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
