"""Manifests, globs, references, protobuf, decoders: what is accepted, and what is refused."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import numpy
import pytest
from PIL import Image

import cyxcloud
from cyxcloud.direct.decode import Decoder
from cyxcloud.direct.globs import predicate
from cyxcloud.direct.manifest import Manifest, path_violation
from cyxcloud.direct.schema import parse_reference, parse_schema
from cyxcloud.direct.transcript import Filter
from cyxcloud.direct.wire import Writer, fields, numbers
from fake_gateway import encode_manifest

FILES = [("a/1", b"one"), ("a/2", b""), ("b/ö", b"three")]


def test_a_manifest_is_read() -> None:
    manifest = Manifest(encode_manifest(FILES))
    assert [(manifest.file(i).path, manifest.file(i).size) for i in range(3)] == [("a/1", 3), ("a/2", 0), ("b/ö", 5)]
    assert manifest.total_size == 8
    assert Manifest(encode_manifest([])).count == 0
    assert Manifest(encode_manifest(FILES[::-1], custom_order=True)).path(0) == "b/ö"


@pytest.mark.parametrize(
    ("files", "custom_order", "rule"),
    [
        (FILES[::-1], False, "not sorted"),
        (FILES, True, "flagged as custom order"),
        ([("b", b""), ("a", b""), ("b", b"")], True, "'b' twice"),
        ([("a", b""), ("a", b"")], False, "not sorted by path bytes, or names a path twice"),
        *(
            ([(path, b"")], False, rule)
            for path, rule in [
                ("", "is empty"), ("/a", "starts with '/'"), ("a//b", "empty segment"), ("a/", "empty segment"),
                (".", "'.' segment"), ("a/..", "'..' segment"), ("../a", "'..' segment"), ("a\x00", "control character"),
                ("a\x7f", "control"), ("a\u0085", "control"), ("e\u0301", "normal form NFC"), ("a" * 1025, "longer than"),
            ]
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_breaks_a_rule_is_refused(files: Any, custom_order: bool, rule: str) -> None:
    with pytest.raises(cyxcloud.DataLossError, match=rule):
        Manifest(encode_manifest(files, custom_order))


def test_every_changed_byte_of_a_manifest_outside_hashes_and_paths_is_noticed() -> None:
    data = encode_manifest(FILES)
    structure = [*range(64), *(64 + 48 * record + i for record in range(3) for i in range(16))]
    for at in structure:
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(cyxcloud.DataLossError):
            Manifest(bytes(changed))
    for length in (0, 63, 64, len(data) - 1):
        with pytest.raises(cyxcloud.DataLossError):
            Manifest(data[:length])
    with pytest.raises(cyxcloud.DataLossError):
        Manifest(data + b"x")


def test_good_paths_pass() -> None:
    for path in ("a", ".a", "...", "a/.b/c..", "a b/c~", "ö/日本", "-"):
        assert path_violation(path.encode()) is None
    assert path_violation(b"\xff") == "is not valid UTF-8"


PATHS = [
    "a.png",
    "x/a.png",
    "x/y/a.png",
    "x/y/b.jpg",
    "train/1/0.png",
    "train/12/0.png",
    "a*b",
    ".hidden/a",
    "x/.a",
    "aXb",
]


@pytest.mark.parametrize(
    ("glob", "selected"),
    [
        ("*", ["a.png", "a*b", "aXb"]),
        ("**", PATHS),
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "x/a.png", "x/y/a.png", "train/1/0.png", "train/12/0.png"]),
        ("x/**", ["x/a.png", "x/y/a.png", "x/y/b.jpg", "x/.a"]),
        ("x/**/a.png", ["x/a.png", "x/y/a.png"]),
        ("x/*/?.{png,jpg}", ["x/y/a.png", "x/y/b.jpg"]),
        ("train/[0-9]/*", ["train/1/0.png"]),
        ("train/1*/*", ["train/1/0.png", "train/12/0.png"]),
        ("a\\*b", ["a*b"]),
        ("a?b", ["a*b", "aXb"]),
        ("{x/y/{a,c}.png,a.png}", ["a.png", "x/y/a.png"]),
        ("x/y**g", []),
        (".*/a", [".hidden/a"]),
    ],
)
def test_globs(glob: str, selected: list[str]) -> None:
    assert [path for path in PATHS if predicate(Filter(None, (glob,)))(path)] == selected


def test_prefix_and_globs_together() -> None:
    passes = predicate(Filter("x/", ("**/*.png", "a.png")))
    assert [path for path in PATHS if passes(path)] == ["x/a.png", "x/y/a.png"]


@pytest.mark.parametrize(
    "glob", ["", "!a", "/a", "[!a]", "[a", "a]", "{a", "a}", "{a}", "{1..3}", "a\\", "{**,b}", "***"]
)
def test_globs_that_may_mean_something_else_elsewhere_are_refused(glob: str) -> None:
    with pytest.raises(cyxcloud.InvalidArgumentError, match=r"filter\.globs"):
        predicate(Filter(None, (glob,)))


def test_references() -> None:
    uuid = "6F1C0F7E-7a51-4a4e-9d3e-0d6f3d1c2b1a"
    assert parse_reference(uuid).id == uuid.lower()
    parsed = parse_reference("ada/my-data@3")
    assert (parsed.owner, parsed.name, parsed.version, parsed.names_version) == ("ada", "my-data", 3, True)
    assert parse_reference(f"d@blake3:{'aB' * 32}").content_hash == bytes([0xAB]) * 32
    assert not parse_reference("d").names_version
    for wrong in ("", "A", "a/b/c", "d@", "d@0", "d@v1", "d@blake3:12", f"{uuid}@1", "-a"):
        with pytest.raises(cyxcloud.InvalidArgumentError):
            parse_reference(wrong)


def test_protobuf_round_trip_and_garbage() -> None:
    message = Writer().number(1, -5).number(2, 0).present_number(3, 0).data(4, "ö").element(5, b"").finish()
    found = [
        (number, value if isinstance(value, int) else bytes(value)) for number, value in fields(memoryview(message))
    ]
    assert found == [(1, 2**64 - 5), (3, 0), (4, "ö".encode()), (5, b"")]
    assert numbers(memoryview(bytes([1, 0x96, 1]))) == [1, 150]
    for garbage in (b"\x08", b"\x0a\x05ab", b"\x0b", b"\x09\x00", b"\x80" * 11):
        with pytest.raises(cyxcloud.DataLossError):
            list(fields(memoryview(garbage)))
    generator = random.Random(1)
    for _ in range(2000):
        try:
            list(fields(memoryview(generator.randbytes(20))))
        except cyxcloud.DataLossError:
            pass


def npy(array: Any) -> memoryview:
    file = io.BytesIO()
    numpy.save(file, array)
    return memoryview(file.getvalue())


def image(mode: str, kind: str = "png") -> memoryview:
    file = io.BytesIO()
    Image.new(mode, (3, 2), 1 if mode in ("L", "I;16", "P", "1") else None).save(file, kind)
    return memoryview(file.getvalue())


def decode(schema: dict[str, Any], *items: memoryview, skip: bool = False) -> Any:
    names = [f"p{i}" for i in range(len(items))]
    return Decoder(parse_schema({"type": "x", **schema}), skip).batch(items, range(len(items)), names)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64"]
)
def test_npy_of_each_type(dtype: str) -> None:
    arrays = [numpy.arange(6).reshape(2, 3).astype(dtype) + numpy.array(i, dtype) for i in range(2)]
    batch = decode({"format": "npy"}, *map(npy, arrays))
    assert numpy.array_equal(numpy.asarray(batch.array), numpy.stack(arrays))
    assert numpy.asarray(batch.array).dtype == dtype


def test_images_become_height_width_channels() -> None:
    for mode, channels, dtype in [
        ("L", 1, "uint8"),
        ("RGB", 3, "uint8"),
        ("RGBA", 4, "uint8"),
        ("1", 1, "uint8"),
        ("P", 3, "uint8"),
        ("LA", 2, "uint8"),
        ("I;16", 1, "uint16"),
    ]:
        batch = decode({"format": "png"}, image(mode))
        assert (batch.array.shape, batch.array.dtype) == ((1, 2, 3, channels), dtype), mode
    assert decode({"format": "jpg"}, image("RGB", "jpeg")).array.shape == (1, 2, 3, 3)
    assert decode({"format": "png", "shape": [2, 3], "dtype": "uint8"}, image("L")).array.shape == (1, 2, 3, 1)


def test_what_does_not_decode_is_raised_or_left_out_by_name() -> None:
    good, small = npy(numpy.zeros(3)), npy(numpy.zeros(2))
    for bad in (memoryview(b"junk"), small, good[:-1], npy(numpy.zeros((2, 3), order="F")), npy(numpy.zeros(3, ">f8"))):
        with pytest.raises(cyxcloud.InvalidArgumentError, match="p1"):
            decode({"format": "npy"}, good, bad)
        batch = decode({"format": "npy"}, good, bad, good, skip=True)
        assert batch.array.shape == (2, 3)
        assert list(batch.kept) == [0, 2]
        assert [(error.index, error.path) for error in batch.errors] == [(1, "p1")]
    with pytest.raises(cyxcloud.InvalidArgumentError, match="p0: is no png"):
        decode({"format": "png"}, memoryview(b"junk"))
    assert decode({"format": "npy"}, memoryview(b"junk"), skip=True).kept == []


def test_without_pillow_images_stay_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    batch = decode({"format": "png"}, memoryview(b"abc"), memoryview(b"de"))
    assert (batch.ends, bytes(batch.array.memoryview())) == ([3, 5], b"abcde")


def test_raw_items_have_exactly_their_bytes() -> None:
    schema = {"format": "raw", "shape": [2], "dtype": "int16"}
    batch = decode(schema, memoryview(struct.pack("<2h", 1, -1)))
    assert batch.array.memoryview().tolist() == [[1, -1]]
    with pytest.raises(cyxcloud.InvalidArgumentError, match="p0"):
        decode(schema, memoryview(b"123"))
