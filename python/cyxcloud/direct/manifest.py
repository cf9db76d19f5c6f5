"""Manifest v1, the immutable list of a dataset's files, as docs/formats/manifest-v1.md defines it."""

from __future__ import annotations

import re
import struct
import unicodedata
from dataclasses import dataclass

from ..errors import DataLossError

HEADER_BYTES = 64
RECORD_BYTES = 48
PATH_MAX_BYTES = 1024
SAFE_INTEGER = 2**53 - 1
FILES_MAX = 2**32

_HEADER = struct.Struct("<4sHHQQQQ24s")
_RECORD = struct.Struct("<QQ32s")
_CUSTOM_ORDER = 1
#: A path of plain characters that breaks no rule; everything else is looked at more closely.
_PLAIN = re.compile(rb"(?!\.{1,2}(?:/|\Z))[\x20-\x2e\x30-\x7e]+(?:/(?!\.{1,2}(?:/|\Z))[\x20-\x2e\x30-\x7e]+)*")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class ManifestFile:
    path: str
    size: int
    """Bytes."""
    content_hash: bytes
    """BLAKE3 of the file, 32 bytes."""


class Manifest:
    """
    A whole manifest, validated: exact lengths, reserved bits, path rules, order, uniqueness, sums. Well-formed is not
    the right one: compare the BLAKE3 of the bytes with a content hash from elsewhere.

    :raises DataLossError: naming the first broken rule.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER_BYTES:
            raise _broken("is shorter than its 64-byte header")
        magic, version, flags, count, paths_at, path_bytes, total_size, reserved = _HEADER.unpack_from(data)
        if magic != b"CYXM":
            raise _broken("does not start with CYXM")
        if version != 1:
            raise _broken(f"has version {version}; this program reads version 1")
        if flags & ~_CUSTOM_ORDER:
            raise _broken(f"has unknown flags {flags:#x}")
        if any(reserved):
            raise _broken("has a reserved header byte that is not zero")
        if count > FILES_MAX or path_bytes > SAFE_INTEGER or total_size > SAFE_INTEGER:
            raise _broken("has a count or length out of range")
        if paths_at != HEADER_BYTES + count * RECORD_BYTES:
            raise _broken("has its paths at another offset than its count says")
        if len(data) != paths_at + path_bytes:
            raise _broken(f"has {len(data)} bytes where its header says {paths_at + path_bytes}")
        self.data = data
        self.count: int = count
        self.total_size: int = total_size
        self._paths_at: int = paths_at
        self._validate(path_bytes, custom_order=bool(flags & _CUSTOM_ORDER))

    def file(self, index: int) -> ManifestFile:
        end, size, content_hash = self._record(index)
        return ManifestFile(self._path(index, end), size, content_hash)

    def path(self, index: int) -> str:
        return self._path(index, self._record(index)[0])

    def content_hash(self, index: int) -> bytes:
        return self._record(index)[2]

    def _record(self, index: int) -> tuple[int, int, bytes]:
        if not 0 <= index < self.count:
            raise IndexError(f"The manifest has {self.count} files; there is no file {index}.")
        end, size, content_hash = _RECORD.unpack_from(self.data, HEADER_BYTES + RECORD_BYTES * index)
        return end, size, content_hash

    def _path(self, index: int, end: int) -> str:
        start = self._record(index - 1)[0] if index else 0
        return self.data[self._paths_at + start : self._paths_at + end].decode()

    def _validate(self, path_bytes: int, custom_order: bool) -> None:
        start = total = 0
        previous = b""
        ascending = True
        records = memoryview(self.data)[HEADER_BYTES : self._paths_at]
        seen: set[bytes] = set()
        for index, (end, size, _) in enumerate(_RECORD.iter_unpack(records)):
            if size > SAFE_INTEGER:
                raise _broken(f"gives file {index} more than 2^53 − 1 bytes")
            if not start <= end <= path_bytes:
                raise _broken(f"gives the path of file {index} an end outside the path bytes")
            path = self.data[self._paths_at + start : self._paths_at + end]
            violation = path_violation(path)
            if violation is not None:
                raise _broken(f"has a file {index} whose path {violation}")
            if index and path <= previous:
                ascending = False
            if custom_order:
                if path in seen:
                    raise _broken(f"names {path.decode()!r} twice")
                seen.add(path)
            elif not ascending:
                raise _broken("is not sorted by path bytes, or names a path twice")
            previous, start = path, end
            total += size
            if total > SAFE_INTEGER:
                raise _broken("has sizes that add up to more than 2^53 − 1 bytes")
        if start != path_bytes:
            raise _broken("has path bytes that belong to no file")
        if total != self.total_size:
            raise _broken(f"says {self.total_size} bytes in all, but its files have {total}")
        if custom_order and ascending:
            raise _broken("is flagged as custom order but is sorted")


def path_violation(path: bytes) -> str | None:
    """Why these bytes may not name a file, or None when they may."""
    if len(path) > PATH_MAX_BYTES:
        return f"is longer than {PATH_MAX_BYTES} bytes"
    if _PLAIN.fullmatch(path):
        return None
    if not path:
        return "is empty"
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "is not valid UTF-8"
    if _CONTROL.search(text):
        return "contains a control character"
    if text.startswith("/"):
        return "starts with '/'"
    for segment in text.split("/"):
        if segment in ("", ".", ".."):
            return f"contains a {segment!r} segment" if segment else "contains an empty segment"
    if unicodedata.normalize("NFC", text) != text:
        return "is not in Unicode normal form NFC"
    return None


def _broken(what: str) -> DataLossError:
    return DataLossError(f"The manifest {what}.", {"part": "manifest"})
