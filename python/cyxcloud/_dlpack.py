"""DLPack capsules made with ctypes alone, so that torch, numpy, CuPy and JAX take memory without a copy.

Follows the DLPack 1.0 header (https://dmlc.github.io/dlpack/latest/c_api.html) and the array API's rules for
``__dlpack__``: the capsule is versioned where the consumer says it understands that, and frees itself where nobody
took it.

A consumer may drop its tensor while an exception is on its way, and a deleter made with ctypes, which runs Python, can lose
that exception. Where a framework has a bridge that ends in an ordinary reference, prefer it: tensors.py does.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Optional, Sequence, Tuple

CPU = 1
CUDA = 2


class ElementType(NamedTuple):
    """How DLPack and the buffer protocol name one element type of a batch."""

    code: int
    """0 signed, 1 unsigned, 2 floating, 4 brain floating, 6 truth value."""
    size: int
    """Bytes."""
    format: str
    """As in the struct module; bfloat16, which has none, is seen as raw bits."""


ELEMENT_TYPES = {
    "bool": ElementType(6, 1, "?"),
    "uint8": ElementType(1, 1, "B"),
    "int8": ElementType(0, 1, "b"),
    "uint16": ElementType(1, 2, "H"),
    "int16": ElementType(0, 2, "h"),
    "uint32": ElementType(1, 4, "I"),
    "int32": ElementType(0, 4, "i"),
    "uint64": ElementType(1, 8, "Q"),
    "int64": ElementType(0, 8, "q"),
    "float16": ElementType(2, 2, "e"),
    "bfloat16": ElementType(4, 2, "H"),
    "float32": ElementType(2, 4, "f"),
    "float64": ElementType(2, 8, "d"),
}


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _ManagedVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_IS_COPIED = 2
# Capsules keep the pointer to their name, so these two must never go away.
_UNVERSIONED = ctypes.c_char_p(b"dltensor")
_VERSIONED = ctypes.c_char_p(b"dltensor_versioned")

# What is exported, by the address of its structure: the structure itself and everything that it points to.
_exported: dict[int, Tuple[Any, ...]] = {}


def _forget(address: Optional[int], exported: dict[int, Tuple[Any, ...]] = _exported) -> None:
    if address:
        exported.pop(address, None)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype = ctypes.c_void_p
_get_pointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


def _capsule_dropped(
    capsule: int,
    forget: Any = _forget,
    is_valid: Any = _is_valid,
    get_pointer: Any = _get_pointer,
    names: Any = (_UNVERSIONED, _VERSIONED),
) -> None:
    # Whoever takes a capsule renames it and calls the deleter later; with its first name it is still ours.
    for name in names:
        if is_valid(capsule, name):
            forget(get_pointer(capsule, name))


# The consumer may call this from any thread, with or without the interpreter's lock: CFUNCTYPE takes it.
_deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)
# The capsule is being destroyed, so its address is passed on, not a new reference to it.
_destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_capsule_dropped)
# Tensors may outlive this module when the interpreter shuts down: the callbacks must stay callable.
for _callback in (_deleter, _destructor):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_callback))
_DELETER_ADDRESS = ctypes.cast(_deleter, ctypes.c_void_p).value
_DESTRUCTOR_ADDRESS = ctypes.cast(_destructor, ctypes.c_void_p).value


def capsule(
    address: int,
    dtype: str,
    shape: Sequence[int],
    device: Tuple[int, int],
    owner: Any,
    max_version: Optional[Tuple[int, int]] = None,
    copied: bool = False,
) -> Any:
    """A capsule over ``address``, row-major; ``owner`` lives until the consumer drops its last tensor.

    ``max_version`` is what the consumer passed to ``__dlpack__``: from (1, 0) on the capsule is a versioned one,
    which numpy takes as writable memory.
    """
    element = ELEMENT_TYPES[dtype]
    dimensions = len(shape)
    shape_array = (ctypes.c_int64 * max(1, dimensions))(*shape)
    strides_array = (ctypes.c_int64 * max(1, dimensions))()
    stride = 1
    for i in range(dimensions - 1, -1, -1):
        strides_array[i] = stride
        stride *= shape[i]
    versioned = max_version is not None and max_version[0] >= 1
    managed: Any = _ManagedVersioned() if versioned else _Managed()
    if versioned:
        managed.major = 1
        managed.flags = _IS_COPIED if copied else 0
    managed.deleter = _DELETER_ADDRESS
    tensor = managed.tensor
    tensor.data = address
    tensor.device.type, tensor.device.id = device
    tensor.ndim = dimensions
    tensor.dtype.code = element.code
    tensor.dtype.bits = element.size * 8
    tensor.dtype.lanes = 1
    tensor.shape = ctypes.cast(shape_array, ctypes.POINTER(ctypes.c_int64))
    tensor.strides = ctypes.cast(strides_array, ctypes.POINTER(ctypes.c_int64))
    key = ctypes.addressof(managed)
    _exported[key] = (managed, shape_array, strides_array, owner)
    return _new_capsule(key, _VERSIONED if versioned else _UNVERSIONED, _DESTRUCTOR_ADDRESS)
