"""Where tensors shall be, and what this process can tell a companion of its device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from . import _cuda, _device_ring
from ._ring import Ring
from .errors import FailedPreconditionError
from .options import StreamOptions


def device_ordinal(options: StreamOptions, framework: str) -> int | None:
    """
    The CUDA device that the stream's tensors shall be on, or None for host memory: the one asked for, else torch's
    current one. Never in a DataLoader worker, whose tensors go to another process.

    :raises FailedPreconditionError: where a CUDA device is asked for, and there is none.
    """
    wanted = options.device or ""
    if framework != "torch" or options.backend == "shm" or (wanted and not wanted.startswith("cuda")):
        return None
    import torch
    from torch.utils.data import get_worker_info

    try:
        if torch.cuda.is_available() and (wanted or get_worker_info() is None):
            index = torch.device(wanted or "cuda").index
            current = torch.cuda.current_device()
            return current if index is None else int(index)
    except RuntimeError as error:
        # After a fork of a process that used CUDA.
        if wanted:
            raise FailedPreconditionError(
                f"{wanted} cannot be used in this process ({error}).", {"field": "device"}
            ) from error
        return None
    if wanted:
        raise FailedPreconditionError(f"torch sees no {wanted}.", {"field": "device"})
    return None


def current_streams(ordinal: int | None) -> Sequence[int]:
    """
    What this thread works on by its framework's own account, since a tensor that is taken on one stream may be used on
    another. Nothing is imported for it.
    """
    torch = sys.modules.get("torch")
    if ordinal is None or torch is None:
        return ()
    try:
        return (torch.cuda.current_stream(ordinal).cuda_stream,)
    except (AttributeError, RuntimeError):
        # Half imported, or without CUDA: then nothing of it works on the device.
        return ()


def device_report(ordinal: int) -> dict[str, Any] | None:
    """The ``device`` of an ``open`` message."""
    return _cuda.detect_device(ordinal)


def forget_report() -> None:
    """Frees what the report exported, once the companion has answered."""
    _cuda.forget_probe()


def device_ring(ring: Ring, backend: str, ordinal: int | None) -> Ring | None:
    """The ring with its slots on the device; None where the driver refuses."""
    try:
        return _device_ring.DeviceRing(ring, backend, ordinal)
    except (_cuda.CudaError, OSError):
        return None
