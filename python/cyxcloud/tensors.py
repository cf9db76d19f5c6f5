"""Memory of a batch as a tensor of whichever framework there is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ._ring import byte_length
from .errors import FailedPreconditionError

#: What torch before 2.3 cannot hold is widened, with a copy.
_WIDER = {"uint16": "int32", "uint32": "int64"}


@lru_cache(maxsize=1)
def default_framework() -> str:
    """torch where it is installed, else numpy, else plain memory views."""
    for name in ("torch", "numpy"):
        if name in sys.modules:
            return name
        found = importlib.util.find_spec(name)
        # A folder that happens to have the name is a package, too, but one without a file of its own.
        if found is not None and found.origin is not None:
            return name
    return "memoryview"


def as_tensor(array: Any, framework: str, device: str | None = None) -> Any:
    """
    :param array: a `RingArray`, or the same on a device.
    :returns: a tensor over the same memory, unless `device` asks for another place or the framework lacks the type.
    """
    if framework == "torch":
        return _torch_tensor(array, device)
    if device not in (None, "cpu"):
        raise FailedPreconditionError(f"{framework} arrays are in host memory, not on {device}.", {"field": "device"})
    return _numpy_array(array) if framework == "numpy" else array.memoryview()


def integers(values: Sequence[int], framework: str, device: str | None = None) -> Any:
    """64-bit integers of the framework, as its losses and indexing want them; always a copy."""
    if framework == "torch":
        import torch

        return torch.tensor(values, dtype=torch.int64, device=device)
    if framework == "numpy":
        import numpy

        return numpy.array(values, dtype=numpy.int64)
    return list(values)


def copy_of(tensor: Any, framework: str) -> Any:
    if framework == "torch":
        return tensor.clone()
    if framework == "numpy":
        return tensor.copy()
    return memoryview(bytearray(tensor.cast("B"))).cast(tensor.format, tensor.shape)


def _numpy_array(array: Any) -> Any:
    import numpy

    if array.dtype == "bfloat16":
        raise FailedPreconditionError(
            "numpy has no bfloat16. Use torch, or cast to float32 by processing.", {"field": "framework"}
        )
    return numpy.asarray(array)


def _torch_tensor(array: Any, device: str | None) -> Any:
    # Not by DLPack: torch may drop a tensor while an exception is on its way, and a deleter that is written in Python, as
    # ctypes makes it, would lose that exception. Both bridges end in an ordinary reference.
    tensor = _torch_on_host(array) if array.device is None else _torch_on_device(array)
    return tensor if device is None else tensor.to(device, non_blocking=True)


def _torch_on_host(array: Any) -> Any:
    import torch

    dtype = getattr(torch, array.dtype, None)
    if dtype is None:
        return torch.from_numpy(_widened(_numpy_array(array)))
    if array.nbytes == 0:
        return torch.empty(array.shape, dtype=dtype)
    return torch.frombuffer(array.memoryview().cast("B"), dtype=dtype).view(array.shape)


def _torch_on_device(array: Any) -> Any:
    import torch

    ordinal = array.device
    dtype = getattr(torch, array.dtype, None)
    if dtype is None:
        raise FailedPreconditionError(
            f"torch {torch.__version__} has no {array.dtype}. Cast by processing, update torch, or use device='cpu'.",
            {"field": "device"},
        )
    if array.nbytes == 0:
        return torch.empty(array.shape, dtype=dtype, device=f"cuda:{ordinal}")
    array.use_on(torch.cuda.current_stream(ordinal).cuda_stream)
    return torch.as_tensor(_OnDevice(array), device=f"cuda:{ordinal}").view(dtype)


class _OnDevice:
    """What torch needs to see device memory: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html"""

    def __init__(self, array: Any) -> None:
        self._array = array
        size = byte_length(array.dtype, (1,))
        # By size alone, since the interface has no word for every type; `view` gives it the right one.
        self.__cuda_array_interface__ = {
            "version": 2,
            "typestr": f"|u{size}" if size == 1 else f"<i{size}",
            "shape": array.shape,
            "data": (array.address, False),
            "strides": None,
        }


def _widened(values: Any) -> Any:
    wider = _WIDER.get(str(values.dtype))
    if wider is not None:
        return values.astype(wider)
    if str(values.dtype) == "uint64":
        return values.view("int64")
    return values
