"""Canonical JSON, RFC 8785: equal values have equal text, so its bytes can be hashed."""

from __future__ import annotations

import json
import math
from typing import Any

from ..errors import invalid_argument


def canonical_json(value: Any) -> bytes:
    """
    UTF-8 of the canonical form.

    :raises InvalidArgumentError: for what JSON cannot say.
    """
    try:
        return _text(value).encode()
    except UnicodeEncodeError:
        raise invalid_argument("json", "has no canonical form: it contains a lone surrogate.") from None


def _text(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        # Keys are sorted by their UTF-16 units, as JavaScript compares them.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return f"{{{','.join(f'{_text(key)}:{_text(value[key])}' for key in keys)}}}"
    raise invalid_argument("json", f"has no canonical form: {type(value).__name__} is none of its types.")


def _number(value: float) -> str:
    """As ECMAScript writes it: the shortest digits that read back as the same double."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid_argument("json", "has no canonical form: it contains a number that is not finite.")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    point = len(whole) - leading + int(exponent or 0)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return f"{sign}{digits}{'0' * (point - count)}"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
