"""Filters over dataset paths: `*`, `?`, `[a-z]` inside one segment, `**` across segments, `{a,b}` either."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import InvalidArgumentError, invalid_argument
from .transcript import Filter

GLOBS_MAX = 64
GLOB_MAX_CHARS = 1024
_CLASS = re.compile(r"\[((?:[A-Za-z0-9_.]-[A-Za-z0-9_.]|[A-Za-z0-9_.])+)\]")


def predicate(chosen: Filter) -> Callable[[str], bool]:
    """
    The filter as a test of whole paths.

    :raises InvalidArgumentError: for a glob that is malformed, or spelled so unusually that a gateway may read it otherwise.
    """
    globs = chosen.globs
    if globs is not None and len(globs) > GLOBS_MAX:
        raise invalid_argument("filter.globs", f"give 1 to {GLOBS_MAX} globs.", limit=GLOBS_MAX)
    patterns = None if globs is None else [re.compile(_pattern(glob), re.DOTALL) for glob in globs]
    prefix = chosen.prefix or ""

    def passes(path: str) -> bool:
        return path.startswith(prefix) and (patterns is None or any(each.fullmatch(path) for each in patterns))

    return passes


def _pattern(glob: str) -> str:
    if not glob or len(glob) > GLOB_MAX_CHARS:
        raise invalid_argument("filter.globs", f"a glob has 1 to {GLOB_MAX_CHARS} characters.", limit=GLOB_MAX_CHARS)
    if glob.startswith(("!", "/")):
        raise invalid_argument("filter.globs", f"{glob!r} must select, and be relative.")
    pattern, end = _alternative(glob, 0, depth=0)
    if end != len(glob):
        raise _unusual(glob)
    return pattern


def _alternative(glob: str, at: int, depth: int) -> tuple[str, int]:
    """Up to the end, or to the comma or brace that ends an alternative of a group."""
    parts: list[str] = []
    while at < len(glob):
        character = glob[at]
        if depth and character in ",}":
            break
        if character == "*":
            piece, at = _stars(glob, at, depth)
        elif character == "?":
            piece, at = "[^/]", at + 1
        elif character == "[":
            found = _CLASS.match(glob, at)
            if found is None:
                raise _unusual(glob)
            piece, at = found.group(), found.end()
        elif character == "{":
            piece, at = _group(glob, at, depth)
        elif character == "\\":
            if at + 1 == len(glob):
                raise _unusual(glob)
            piece, at = re.escape(glob[at + 1]), at + 2
        elif character in "]}":
            raise _unusual(glob)
        else:
            piece, at = re.escape(character), at + 1
        parts.append(piece)
    return "".join(parts), at


def _stars(glob: str, at: int, depth: int) -> tuple[str, int]:
    end = at
    while end < len(glob) and glob[end] == "*":
        end += 1
    whole_segment = (at == 0 or glob[at - 1] == "/") and (end == len(glob) or glob[end] == "/")
    if end - at < 2 or not whole_segment:
        if end - at >= 2 and depth:
            raise _unusual(glob)
        return "[^/]*", end
    if depth or end - at > 2:
        raise _unusual(glob)
    return ("(?:.*/)?", end + 1) if end < len(glob) else (".*", end)


def _group(glob: str, at: int, depth: int) -> tuple[str, int]:
    alternatives = []
    end = at
    while True:
        pattern, end = _alternative(glob, end + 1, depth + 1)
        alternatives.append(pattern)
        if end == len(glob):
            raise _unusual(glob)
        if glob[end] == "}":
            break
    if len(alternatives) < 2:
        raise _unusual(glob)
    return f"(?:{'|'.join(alternatives)})", end + 1


def _unusual(glob: str) -> InvalidArgumentError:
    return invalid_argument(
        "filter.globs",
        f"{glob!r} cannot be read without a companion: only *, ?, [a-z], ** between slashes, {{a,b}} and \\ are known here.",
    )
