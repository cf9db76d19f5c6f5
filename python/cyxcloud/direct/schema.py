"""What the items of a dataset mean, as far as a client needs it, and the ways to refer to a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataLossError, invalid_argument

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME_MAX_CHARS = 128


@dataclass(frozen=True)
class DatasetReference:
    """What a ``dataset_id`` says: an id or a name, and perhaps what exactly is meant by it."""

    id: str | None
    owner: str | None
    name: str | None
    version: int | None
    content_hash: bytes | None

    @property
    def names_version(self) -> bool:
        return self.id is not None or self.version is not None or self.content_hash is not None


def parse_reference(text: str) -> DatasetReference:
    """
    ``UUID``, ``name`` or ``owner/name``, the names with ``@3`` for a version, and any with ``@blake3:HEX``.

    :raises InvalidArgumentError: for anything else.
    """
    subject, at, qualifier = text.partition("@")
    version: int | None = None
    content_hash: bytes | None = None
    if qualifier.startswith("blake3:"):
        digits = qualifier[len("blake3:") :]
        if not re.fullmatch("[0-9a-fA-F]{64}", digits):
            raise invalid_argument("dataset_id", "after '@blake3:' come 64 hexadecimal digits.")
        content_hash = bytes.fromhex(digits)
    elif at:
        if not re.fullmatch("[1-9][0-9]{0,9}", qualifier):
            raise invalid_argument(
                "dataset_id", "after '@' comes a version number from 1 on, or 'blake3:' and a content hash."
            )
        version = int(qualifier)
    if _UUID.fullmatch(subject.lower()):
        if version is not None:
            raise invalid_argument("dataset_id", "an id names one version already; leave out the '@' and what follows.")
        return DatasetReference(subject.lower(), None, None, None, content_hash)
    owner, slash, name = subject.rpartition("/")
    for each in (owner, name) if slash else (name,):
        if not _NAME.fullmatch(each) or len(each) > _NAME_MAX_CHARS:
            raise invalid_argument(
                "dataset_id",
                f"{each!r} must have 1 to {_NAME_MAX_CHARS} lowercase letters, digits, '.', '_' and '-', and begin and end "
                "with a letter or digit.",
                limit=_NAME_MAX_CHARS,
            )
    return DatasetReference(None, owner if slash else None, name, version, content_hash)


@dataclass(frozen=True)
class Schema:
    """The part of a schema that this package acts on; ``json`` is all of it."""

    json: Mapping[str, Any]
    format: str
    shape: tuple[int, ...] | None
    dtype: str | None
    classes: Mapping[str, int] | None
    """Class index by name, where labels come from the path."""

    def label(self, path: str) -> int:
        """
        :raises DataLossError: for a folder that is no class.
        """
        folder = path.rsplit("/", 2)[-2] if "/" in path else ""
        found = None if self.classes is None else self.classes.get(folder)
        if found is None:
            raise DataLossError(
                f"The schema does not list {folder!r}, the folder of {path!r}.", {"field": "schema.classes"}
            )
        return found


def parse_schema(value: Any) -> Schema:
    """
    :raises DataLossError: for what is no schema; the gateway checked it when the dataset was made.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("format"), str):
        raise DataLossError("The gateway sent a schema that cannot be read.", {"field": "schema"})
    json = {"labels": "none", **value}
    shape = json.get("shape")
    classes = json.get("classes") if json["labels"] == "path" else None
    try:
        return Schema(
            json=json,
            format=json["format"],
            shape=None if shape is None else tuple(int(each) for each in shape),
            dtype=json.get("dtype"),
            classes=None if classes is None else {name: index for index, name in enumerate(classes)},
        )
    except (TypeError, ValueError):
        raise DataLossError("The gateway sent a schema that cannot be read.", {"field": "schema"}) from None
