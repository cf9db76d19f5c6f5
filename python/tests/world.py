"""What tests share that is no fixture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "test" / "vectors"


@dataclass(frozen=True)
class World:
    """What test/python/world.ts prepared: a gateway, a token for each dataset, and streams as another client saw them."""

    gateway: str
    tokens: dict[str, str]
    streams: list[dict[str, Any]]
