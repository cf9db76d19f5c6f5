"""A dataset version as this client verified it, independent of what the gateway says later."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DataLossError, FailedPreconditionError, VerificationError, invalid_argument
from .canonical import canonical_json
from .globs import predicate
from .hashing import Blake3
from .http import Gateway, path_of
from .manifest import Manifest
from .pins import Pin, PinFile
from .schema import Schema, parse_reference, parse_schema
from .transcript import Filter

#: Larger manifests are read by pages, which a companion does.
MANIFEST_MAX_BYTES = 1024 * 1024 * 1024


class Dataset:
    """Description and manifest, checked against the reference and the pins."""

    def __init__(self, info: Mapping[str, Any], manifest: Manifest, schema: Schema, pinned: bool) -> None:
        self.info = info
        self.id: str = info["id"]
        self.content_hash = bytes.fromhex(info["content_hash"])
        self.schema_hash = bytes.fromhex(info["schema_hash"])
        self.manifest = manifest
        self.schema = schema
        self.pinned = pinned
        """Whether the version is vouched for from outside the gateway: by the reference, or by an earlier run."""

    @property
    def description(self) -> dict[str, Any]:
        """As a companion describes a dataset: docs/formats/handoff-v1.md."""
        return {
            "id": self.id,
            "name": self.info["name"],
            "version": self.info["version"],
            "content_hash": self.info["content_hash"],
            "schema": dict(self.schema.json),
            "schema_hash": self.info["schema_hash"],
            "count": self.manifest.count,
            "total_bytes": self.manifest.total_size,
            "pinned": self.pinned,
            "trust_level": self.info["trust_level"],
        }

    def view(self, chosen: Filter) -> Sequence[int]:
        """Ascending indices of the files that pass."""
        passes = predicate(chosen)
        view = array("I", (index for index in range(self.manifest.count) if passes(self.manifest.path(index))))
        if not view:
            raise invalid_argument("filter", "matches no file of the dataset.")
        return view


def open_dataset(
    gateway: Gateway,
    token: str,
    reference: str,
    pins: PinFile,
    blake3: Blake3 | None,
    schema_hash: str | None,
) -> Dataset:
    """
    Fetches description and manifest of a version, and checks them.

    :param blake3: None to believe the gateway.
    :raises VerificationError: naming what differs.
    """
    wanted = parse_reference(reference)
    info = gateway.json(path_of("api", "datasets", reference), token)
    _check_answer(info)
    if wanted.content_hash is not None:
        _same("content hash", wanted.content_hash.hex(), info["content_hash"])
    for field in ("name", "owner", "version", "id"):
        expected = getattr(wanted, field)
        if expected is not None:
            _same("version" if field == "id" else "name" if field == "owner" else field, expected, info[field])
    schema = parse_schema(info["schema"])
    if blake3 is not None:
        _same("schema", blake3.hash(canonical_json(dict(schema.json))).hex(), info["schema_hash"])
    if schema_hash is not None:
        _same("schema", schema_hash.lower(), info["schema_hash"])

    if info["manifest_size_bytes"] > MANIFEST_MAX_BYTES:
        raise FailedPreconditionError(
            f"The manifest has {info['manifest_size_bytes']} bytes; without a companion, {MANIFEST_MAX_BYTES} are the most.",
            {"field": "manifest_size_bytes", "limit": MANIFEST_MAX_BYTES},
        )
    data = gateway.request("GET", path_of("api", "datasets", info["id"], "manifest"), token)
    if blake3 is not None:
        actual = blake3.hash(data).hex()
        if actual != info["content_hash"]:
            raise VerificationError.of("manifest", info["content_hash"], actual)
    manifest = Manifest(data)
    if (manifest.count, manifest.total_size) != (info["file_count"], info["total_size_bytes"]):
        expected = f"{manifest.count} files of {manifest.total_size} bytes"
        raise VerificationError.of("manifest", expected, f"{info['file_count']} of {info['total_size_bytes']}")
    seen = Pin(info["id"], info["version"], info["content_hash"], info["schema_hash"])
    seen_before = pins.check(gateway.base, reference, wanted.names_version, seen)
    return Dataset(info, manifest, schema, wanted.content_hash is not None or seen_before)


def _check_answer(info: Any) -> None:
    texts = ("id", "name", "owner", "content_hash", "schema_hash")
    numbers = ("version", "file_count", "total_size_bytes", "manifest_size_bytes", "trust_level")
    valid = (
        isinstance(info, Mapping)
        and all(isinstance(info.get(name), str) for name in texts)
        and all(isinstance(info.get(name), int) for name in numbers)
    )
    try:
        if valid and all(len(bytes.fromhex(info[name])) == 32 for name in ("content_hash", "schema_hash")):
            return
    except ValueError:
        pass
    raise DataLossError("The gateway's description of the dataset cannot be read.")


def _same(subject: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise VerificationError.of(subject, expected, actual)
