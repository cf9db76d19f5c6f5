"""A ring file as arrays, and what keeps them alive."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyxcloud._ring import ELEMENT_TYPES, Ring, RingArray, byte_length

SLOT = 4096


class Owner:
    """Stands for a lease."""


@pytest.fixture
def content() -> bytes:
    return bytes(i * 7 % 251 for i in range(2 * SLOT))


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> str:
    file = tmp_path / "ring"
    file.write_bytes(content)
    return str(file)


@pytest.fixture
def ring(path: str) -> Ring:
    return Ring.map(path, 2 * SLOT, 2, SLOT)


@pytest.mark.parametrize("dtype", [name for name in ELEMENT_TYPES if name not in ("bool", "bfloat16")])
def test_every_element_type_is_seen_by_numpy_as_it_lies_in_the_slot(ring: Ring, content: bytes, dtype: str) -> None:
    array = np.asarray(ring.array(1, 64, dtype, (2, 3)))
    expected = np.frombuffer(content, dtype, 6, SLOT + 64).reshape(2, 3)
    assert array.dtype == expected.dtype
    assert array.tobytes() == expected.tobytes()
    assert array.shape == (2, 3)


def test_truth_values_and_brain_floats(ring: Ring) -> None:
    ring.slot(0)[:4] = b"\x01\x00\x00\x80"
    assert np.asarray(ring.array(0, 0, "bool", (3,))).tolist() == [True, False, False]
    brain = ring.array(0, 2, "bfloat16", (1,))
    assert brain.memoryview().tolist() == [0x8000]
    with pytest.raises(AttributeError, match="bfloat16"):
        _ = brain.__array_interface__


def test_arrays_are_the_slot_and_no_copy(ring: Ring, path: str) -> None:
    np.asarray(ring.array(1, 8, "uint8", (4,)))[:] = 200
    assert Path(path).read_bytes()[SLOT + 8 : SLOT + 12] == b"\xc8" * 4
    assert np.asarray(ring.array(1, 8, "uint8", (4,))).tolist() == [200] * 4
    assert ring.array(1, 8, "uint8", (2, 2)).memoryview().tolist() == [[200, 200], [200, 200]]


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2)])
def test_shapes_at_the_edge(ring: Ring, shape: tuple[int, ...]) -> None:
    array = np.asarray(ring.array(0, SLOT - 8, "float64", shape))
    assert array.shape == shape
    assert ring.array(0, SLOT - 8, "float64", shape).memoryview().nbytes == array.nbytes


def test_buffer_protocol(ring: Ring) -> None:
    array = ring.array(0, 0, "int32", (2, 2))
    # Before 3.12 Python asks no Python class for a buffer.
    view = memoryview(array) if sys.version_info >= (3, 12) else array.__buffer__(0)
    assert (view.format, view.shape) == ("i", (2, 2))
    with pytest.raises(BufferError, match="float16"):
        ring.array(0, 0, "float16", (2, 2)).__buffer__(0)


@pytest.mark.parametrize(
    "take",
    [np.asarray, RingArray.memoryview],
    ids=["asarray", "memoryview"],
)
def test_the_owner_lives_as_long_as_anything_sees_the_slot(ring: Ring, take: Any) -> None:
    owner = Owner()
    ended = weakref.ref(owner)
    seen = take(ring.array(0, 0, "uint8", (16,), owner))
    part = seen[1:2]
    del owner, seen
    gc.collect()
    assert ended() is not None
    del part
    assert ended() is None


def test_arrays_outlive_the_ring_and_the_file(ring: Ring, path: str, content: bytes) -> None:
    array = np.asarray(ring.array(1, 0, "uint8", (SLOT,)))
    Path(path).unlink()
    ring.close()
    ring.close()
    del ring
    gc.collect()
    assert array.tobytes() == content[SLOT:]


@pytest.mark.parametrize(
    ("slot", "offset", "dtype", "shape", "message"),
    [
        (2, 0, "uint8", (1,), "no slot 2"),
        (-1, 0, "uint8", (1,), "no slot -1"),
        (0, SLOT - 3, "float32", (1,), "not inside"),
        (0, -1, "uint8", (1,), "not inside"),
        (1, 0, "uint8", (SLOT + 1,), "not inside"),
        (0, 0, "uint8", (-1,), "negative"),
        (0, 0, "complex64", (1,), "no element type"),
    ],
)
def test_what_is_not_inside_a_slot_is_refused(
    ring: Ring, slot: int, offset: int, dtype: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ring.array(slot, offset, dtype, shape)


def test_a_ring_that_does_not_fit_its_file_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not 8193"):
        Ring.map(path, 2 * SLOT + 1, 2, SLOT)
    with pytest.raises(ValueError, match="has 8192 bytes"):
        Ring.map(path, 3 * SLOT, 3, SLOT)
    with pytest.raises(FileNotFoundError):
        Ring.map(path + "-missing", SLOT, 1, SLOT)
    link = Path(path + "-link")
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        Ring.map(str(link), 2 * SLOT, 2, SLOT)


def test_a_closed_ring_gives_nothing(ring: Ring) -> None:
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        ring.array(0, 0, "uint8", (1,))


def test_slots_of_the_host_are_free_at_once(ring: Ring) -> None:
    ring.receive(1, SLOT)
    fence = ring.retire(1)
    fence.wait()
    assert fence.done()
    assert ring.handles == ()


def test_byte_length() -> None:
    assert byte_length("float16", (3, 5)) == 30
    assert byte_length("uint8", ()) == 1
