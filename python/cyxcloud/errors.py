"""The errors of the package: one class for each code, the same closed set as everywhere in DataStream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CanceledError",
    "DataLossError",
    "DataStreamError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "StateMismatch",
    "UnauthenticatedError",
    "UnavailableError",
    "VerificationError",
    "error_of",
    "invalid_argument",
]


class DataStreamError(Exception):
    """
    What went wrong, by a closed set of codes; the message names the field, the limit and what to do.

    The constructor takes a lone message as well, because loaders re-create errors of their workers that way.
    """

    code: ClassVar[str] = "internal"
    details: Mapping[str, Any]
    """Machine-readable particulars, for example ``{"field": "batch_size", "limit": 65536}``. Never secrets."""

    def __init__(self, message: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = dict(details or {})

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else ""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed when it is made again unchanged."""
        return self.code in ("unavailable", "resource_exhausted")


class InvalidArgumentError(DataStreamError, ValueError):
    code = "invalid_argument"


class UnauthenticatedError(DataStreamError):
    code = "unauthenticated"


class PermissionDeniedError(DataStreamError):
    code = "permission_denied"


class NotFoundError(DataStreamError):
    code = "not_found"


class AlreadyExistsError(DataStreamError):
    code = "already_exists"


class FailedPreconditionError(DataStreamError):
    code = "failed_precondition"


class AbortedError(DataStreamError):
    """Somebody else goes on with this stream: another process took the rank over."""

    code = "aborted"


class ResourceExhaustedError(DataStreamError):
    code = "resource_exhausted"


class DataLossError(DataStreamError):
    code = "data_loss"


class UnavailableError(DataStreamError):
    code = "unavailable"


class CanceledError(DataStreamError):
    code = "canceled"


class InternalError(DataStreamError):
    code = "internal"


class VerificationError(DataLossError):
    """
    The gateway sent something that contradicts the manifest, the order or the transcript. Nothing of it was
    delivered. ``details`` holds ``subject``, ``expected``, ``actual`` and, where they apply, ``batch``, ``item``
    and ``path``.
    """

    @classmethod
    def of(cls, subject: str, expected: object, actual: object, **where: Any) -> VerificationError:
        expected, actual = _shortened(str(expected)), _shortened(str(actual))
        at = f" in batch {where['batch']}" if "batch" in where else ""
        at += f" at item {where['item']}" if "item" in where else ""
        at += f" ({where['path']})" if "path" in where else ""
        return cls(
            f"Verification failed: {subject}{at}: expected {expected}, got {actual}. Nothing of it was delivered.",
            {"subject": subject, "expected": expected, "actual": actual, **where},
        )


class StateMismatch(FailedPreconditionError):
    """A stored state belongs to another stream; ``field`` says in what it differs."""

    @property
    def field(self) -> str:
        return str(self.details.get("field", ""))


_CLASSES = {
    each.code: each
    for each in (
        InvalidArgumentError,
        UnauthenticatedError,
        PermissionDeniedError,
        NotFoundError,
        AlreadyExistsError,
        FailedPreconditionError,
        AbortedError,
        ResourceExhaustedError,
        DataLossError,
        UnavailableError,
        CanceledError,
        InternalError,
    )
}


def error_of(code: object, message: str, details: Mapping[str, Any] | None = None) -> DataStreamError:
    """The exception for a code that came over the wire; an unknown one is ``internal``."""
    found = _CLASSES.get(code) if isinstance(code, str) else None
    if found is DataLossError and details and "subject" in details and "expected" in details:
        found = VerificationError
    return (found or InternalError)(message, details)


def invalid_argument(field: str, message: str, **details: Any) -> InvalidArgumentError:
    return InvalidArgumentError(f"{field}: {message}", {"field": field, **details})


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
