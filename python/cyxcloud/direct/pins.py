"""Trust on first use: what a gateway said of a dataset version is remembered on disk, and may never change."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import VerificationError, invalid_argument

#: The same file as the command's and the companion's, so that one remembers what the other saw.
DEFAULT_FILE = Path("~/.config/cyxcloud/pins.json")


@dataclass(frozen=True)
class Pin:
    """A dataset version as it was seen. Hashes are hexadecimal; the names are those of the file."""

    datasetId: str  # noqa: N815
    version: int
    contentHash: str  # noqa: N815
    schemaHash: str  # noqa: N815


class PinFile:
    """Pins in a JSON file. Without a path they live as long as the object."""

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self._pins: dict[str, Any] = {}
        self._lock = threading.Lock()

    def check(self, gateway: str, reference: str, names_version: bool, seen: Pin) -> bool:
        """
        Compares with what was seen before, and remembers.

        :param names_version: whether the reference means one version for ever, and not the newest.
        :returns: whether this very version had been seen before.
        :raises VerificationError: for a changed hash, or an older version served as the newest.
        """
        version_key, reference_key = f"{gateway} {seen.datasetId}", f"{gateway} {reference}"
        with self._lock, self._exclusive():
            pins = self._read()
            known = _pin(pins.get(version_key))
            if known is not None:
                _same("content hash", known.contentHash, seen.contentHash)
                _same("schema", known.schemaHash, seen.schemaHash)
                _same("version", known.version, seen.version)
            newest = _pin(pins.get(reference_key))
            if newest is not None:
                if names_version or newest.version == seen.version:
                    _same("version", newest.version, seen.version)
                    _same("content hash", newest.contentHash, seen.contentHash)
                    _same("schema", newest.schemaHash, seen.schemaHash)
                elif seen.version < newest.version:
                    expected = f"{newest.version} or newer (it was the newest before)"
                    raise VerificationError.of("version", expected, seen.version)
            if known != seen or newest != seen:
                self._write({**pins, version_key: asdict(seen), reference_key: asdict(seen)})
            return known is not None or (newest is not None and newest.version == seen.version)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return self._pins
        try:
            pins = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            pins = None
        if not isinstance(pins, dict):
            raise invalid_argument("pins", f"{self._path} is no file of pins. Repair it, or move it away.")
        return pins

    def _write(self, pins: dict[str, Any]) -> None:
        if self._path is None:
            self._pins = pins
            return
        # Renaming is atomic: a crash leaves the old file or the new one, never half of either.
        descriptor, scratch = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
        with os.fdopen(descriptor, "w") as file:
            json.dump(pins, file, indent=2)
            file.write("\n")
        os.replace(scratch, self._path)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Against other processes of this package: ranks start together."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path.with_name(f"{self._path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "pins": self._pins}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._path, self._pins, self._lock = state["path"], state["pins"], threading.Lock()


def _pin(stored: Any) -> Pin | None:
    try:
        return Pin(stored["datasetId"], stored["version"], stored["contentHash"], stored["schemaHash"])
    except (TypeError, KeyError):
        return None


def _same(subject: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise VerificationError.of(subject, expected, actual)
