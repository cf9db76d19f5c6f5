"""Marks a wheel that brings a companion as one for a platform: its native modules run nowhere else."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What Node 24's own wheel asks for; the native modules ask for less.
LINUX = "manylinux_2_28"


class CompanionHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        native = list((Path(self.root) / "cyxcloud" / "_companion").rglob("*.node"))
        if version == "standard" and native:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    machine = platform.machine().lower()
    if sys.platform.startswith("linux"):
        return f"{LINUX}_{machine}"
    if sys.platform == "darwin":
        return f"macosx_13_0_{machine}"
    raise RuntimeError(f"A companion is built on Linux and macOS, not on {sys.platform}.")
