"""
Items to one tensor, without a companion: raw and npy by themselves, images where Pillow is installed. Everything else, and
images without it, stays bytes.
"""

from __future__ import annotations

import ast
import ctypes
import io
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .._ring import RingArray, byte_length
from ..errors import InvalidArgumentError, invalid_argument
from ..options import ItemError
from .schema import Schema

IMAGE_FORMATS = ("png", "jpg", "jpeg")
_NPY_MAGIC = b"\x93NUMPY"
_NPY_DTYPES = {
    "|b1": "bool",
    "|u1": "uint8",
    "|i1": "int8",
    "<u2": "uint16",
    "<i2": "int16",
    "<u4": "uint32",
    "<i4": "int32",
    "<u8": "uint64",
    "<i8": "int64",
    "<f2": "float16",
    "<f4": "float32",
    "<f8": "float64",
}
_IMAGE_MODES = {
    "L": (1, "uint8"),
    "LA": (2, "uint8"),
    "RGB": (3, "uint8"),
    "RGBA": (4, "uint8"),
    "I;16": (1, "uint16"),
}
_PLAINER_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "I": "I;16"}


@dataclass(frozen=True)
class Decoded:
    """One item: elements row-major, little-endian."""

    shape: tuple[int, ...]
    dtype: str
    data: Any


@dataclass(frozen=True)
class DecodedBatch:
    array: RingArray
    ends: Sequence[int] | None
    """Where each item ends, where they stayed bytes."""
    kept: Sequence[int]
    """Which of the items are in the array."""
    errors: Sequence[ItemError]


class Decoder:
    """
    Turns the items of one dataset into equally shaped tensors; the first fixes the shape where the schema leaves it open.

    :param skip: leave out what cannot be decoded, and report it, in place of raising.
    """

    def __init__(self, schema: Schema, skip: bool) -> None:
        self._schema = schema
        self._skip = skip
        self._decode = _decoder_of(schema)
        self._format: tuple[tuple[int, ...], str] | None = None
        if self._decode is not None and schema.shape is not None and schema.dtype is not None:
            self._format = (_image_shape(schema), schema.dtype)

    @property
    def format(self) -> dict[str, Any] | None:
        """As a companion says it; None as long as only an item could tell."""
        if self._decode is None:
            return {"kind": "bytes", "dtype": "uint8", "shape": [], "layout": "bytes"}
        if self._format is None:
            return None
        layout = "NHWC" if self._schema.format in IMAGE_FORMATS else "N…"
        return {"kind": "tensor", "dtype": self._format[1], "shape": list(self._format[0]), "layout": layout}

    def batch(self, items: Sequence[memoryview], indices: Sequence[int], paths: Sequence[str]) -> DecodedBatch:
        """
        :raises InvalidArgumentError: naming the path, for an item that does not decode or has another shape.
        """
        if self._decode is None:
            ends = []
            total = 0
            for item in items:
                total += len(item)
                ends.append(total)
            return DecodedBatch(_gathered(items, "uint8", (total,)), ends, range(len(items)), ())
        decoded: list[Any] = []
        kept: list[int] = []
        errors: list[ItemError] = []
        for i, item in enumerate(items):
            try:
                decoded.append(self._fitting(item, paths[i]))
                kept.append(i)
            except InvalidArgumentError as error:
                if not self._skip:
                    raise
                errors.append(ItemError(indices[i], paths[i], str(error)))
        shape, dtype = self._format or ((0,), "uint8")
        return DecodedBatch(_gathered(decoded, dtype, (len(decoded), *shape)), None, kept, errors)

    def _fitting(self, item: memoryview, path: str) -> Any:
        assert self._decode is not None
        try:
            decoded = self._decode(item)
        except InvalidArgumentError:
            raise
        except Exception as error:
            raise InvalidArgumentError(
                f"{path}: is no {self._schema.format} that can be decoded ({error}).",
                {"field": path, "path": path},
            ) from error
        self._format = self._format or (decoded.shape, decoded.dtype)
        if (decoded.shape, decoded.dtype) != self._format:
            raise InvalidArgumentError(
                f"{path}: is {_spelled(decoded.shape)} of {decoded.dtype}; "
                f"this batch holds {_spelled(self._format[0])} of {self._format[1]}.",
                {"field": path, "path": path},
            )
        return decoded.data


def undecoded(schema: Schema) -> str | None:
    """Why items that are decoded elsewhere stayed bytes, and what helps; None where bytes is what they are."""
    if schema.format not in IMAGE_FORMATS:
        return None
    return (
        f"Without a companion, {schema.format} images are decoded with Pillow, which is not installed: pip install pillow, or "
        "use a companion. batch.items has their bytes."
    )


def _decoder_of(schema: Schema) -> Callable[[memoryview], Decoded] | None:
    if schema.format == "raw":
        shape, dtype = schema.shape, schema.dtype
        if shape is None or dtype is None:
            raise invalid_argument("schema", "raw items need shape and dtype.")
        return lambda item: _raw(item, shape, dtype)
    if schema.format == "npy":
        return _npy
    if schema.format in IMAGE_FORMATS:
        try:
            from PIL import Image
        except ImportError:
            return None
        return lambda item: _image(item, Image)
    return None


def _raw(item: memoryview, shape: tuple[int, ...], dtype: str) -> Decoded:
    if len(item) != byte_length(dtype, shape):
        raise ValueError(f"{len(item)} bytes where {_spelled(shape)} of {dtype} takes {byte_length(dtype, shape)}")
    return Decoded(shape, dtype, item)


def _npy(item: memoryview) -> Decoded:
    """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    if bytes(item[:6]) != _NPY_MAGIC:
        raise ValueError("it does not begin as one")
    wide = item[6] >= 2
    (length,) = struct.unpack_from("<I" if wide else "<H", item, 8)
    begin = (12 if wide else 10) + length
    header = ast.literal_eval(bytes(item[12 if wide else 10 : begin]).decode("utf-8" if item[6] >= 3 else "latin-1"))
    shape, dtype = tuple(header["shape"]), _NPY_DTYPES.get(header["descr"])
    if dtype is None:
        raise ValueError(f"elements of type {header['descr']} are not known")
    if header["fortran_order"] and sum(each > 1 for each in shape) > 1:
        raise ValueError("it is stored column by column")
    data = item[begin:]
    if len(data) != byte_length(dtype, shape):
        raise ValueError(f"{len(data)} bytes of elements where its header says {byte_length(dtype, shape)}")
    return Decoded(shape, dtype, data)


def _image(item: memoryview, pillow: Any) -> Decoded:
    """Height × width × channels, as a companion decodes them: no gamma, no colour profile, no rotation."""
    with pillow.open(io.BytesIO(item)) as image:
        plainer = _PLAINER_MODES.get(image.mode)
        if image.mode == "P" and "transparency" in image.info:
            plainer = "RGBA"
        pixels = image.convert(plainer) if plainer else image
        if pixels.mode not in _IMAGE_MODES:
            raise ValueError(f"pixels of mode {pixels.mode} are not known")
        channels, dtype = _IMAGE_MODES[pixels.mode]
        return Decoded((pixels.height, pixels.width, channels), dtype, pixels.tobytes())


def _image_shape(schema: Schema) -> tuple[int, ...]:
    shape = schema.shape or ()
    return (*shape, 1) if schema.format in IMAGE_FORMATS and len(shape) == 2 else shape


def _gathered(parts: Sequence[Any], dtype: str, shape: tuple[int, ...]) -> RingArray:
    data = bytearray(max(1, byte_length(dtype, shape)))
    at = 0
    for part in parts:
        data[at : at + len(part)] = part
        at += len(part)
    memory = (ctypes.c_uint8 * len(data)).from_buffer(data)
    return RingArray(memory, ctypes.addressof(memory), dtype, shape)


def _spelled(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or str(math.prod(()))
