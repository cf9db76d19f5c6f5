"""The formats, against the vectors that every language shares."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cyxcloud import address, options
from cyxcloud.direct import globs, http, manifest, order, plan, receive, schema
from cyxcloud.direct.canonical import canonical_json
from cyxcloud.direct.hashing import Blake3, blake3_for
from cyxcloud.direct.order import BlockShape, Order, view_bytes
from cyxcloud.direct.transcript import Filter, StreamParameters, Transcript, framed_batch_hash
from world import VECTORS


def blake3() -> Blake3:
    found = blake3_for(True)
    assert found is not None
    return found


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    assert vectors
    return vectors


def test_order_v1() -> None:
    for vector in load("order-v1.json"):
        block = None
        if vector["mode"] == "block":
            block = BlockShape(vector["block_size"], vector["lanes"], vector["blocks_per_group"])
        content_hash = bytes.fromhex(vector["content_hash"])
        found = Order(vector["mode"], vector["count"], content_hash, int(vector["seed"]), vector["epoch"], block)
        positions = vector.get("positions", range(vector["count"]))
        assert [found.item_at(position) for position in positions] == vector["items"], vector


def test_order_of_a_view_names_its_entries() -> None:
    view = [3, 5, 8, 13, 21]
    found = Order("full", 5, bytes(32), 1, 0, view=view)
    assert sorted(found.item_at(position) for position in range(5)) == view
    assert view_bytes(view) == bytes.fromhex("0300000005000000080000000d00000015000000")
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            found.item_at(outside)


def parameters_of(json: dict[str, Any]) -> StreamParameters:
    chosen = json["filter"]
    block = None
    if json["mode"] == "block":
        block = BlockShape(json["block_size"], json["lanes"], json["blocks_per_group"])
    return StreamParameters(
        dataset_id=json["dataset_id"],
        content_hash=bytes.fromhex(json["content_hash"]),
        schema_hash=bytes.fromhex(json["schema_hash"]),
        mode=json["mode"],
        seed=int(json["seed"]) % 2**64,
        block=block,
        batch_size=json["batch_size"],
        tail=json["tail"],
        filter=chosen and Filter(chosen["prefix"], chosen["globs"] and tuple(chosen["globs"])),
        view_hash=json["view_hash"] and bytes.fromhex(json["view_hash"]),
        batch_hash=json["batch_hash"],
        processing_hash=json["processing_hash"] and bytes.fromhex(json["processing_hash"]),
    )


def test_transcript_v1() -> None:
    for vector in load("transcript-v1.json"):
        parameters = parameters_of(vector["parameters"])
        assert parameters.json() == vector["parameters"]
        context = "cyxcloud-datastream 2026-11 stream parameters v1"
        assert blake3().derive_key(context, canonical_json(parameters.json())).hex() == vector["parameters_hash"]
        place = (vector["epoch"], vector["rank"], vector["world_size"], vector["start_index"])
        chain = Transcript(parameters, *place, blake3())
        assert chain.head.hex() == vector["start_head"]
        for index, batch in enumerate(vector["batches"]):
            sizes = [item["size"] for item in batch["items"]]
            hashes = [bytes.fromhex(item["hash"]) for item in batch["items"]]
            assert framed_batch_hash(index, sizes, hashes, blake3()).hex() == batch["framed_hash"]
            assert chain.advance(index, [item["item"] for item in batch["items"]], hashes).hex() == batch["head"]


@pytest.mark.parametrize(
    ("value", "text"),
    # The examples of RFC 8785, and the borders of ECMAScript's notations.
    [
        (333333333.33333329, "333333333.3333333"),
        (1e30, "1e+30"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (0.000000000000000000000000001, "1e-27"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000, "123456789012345680000"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (-0.0, "0"),
        (-12.25, "-12.25"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740993, "9007199254740992"),
        (True, "true"),
        ([None, {"b": 1, "a": "€\u000f\n'\"\\"}], '[null,{"a":"€\\u000f\\n\'\\"\\\\","b":1}]'),
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
         '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'),
    ],
)  # fmt: skip
def test_canonical_json(value: Any, text: str) -> None:
    assert canonical_json(value).decode() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}])
def test_what_json_cannot_say(value: Any) -> None:
    with pytest.raises(ValueError, match="no canonical form"):
        canonical_json(value)


def test_limits_are_those_of_the_other_languages() -> None:
    source = (Path(__file__).parents[3] / "core" / "limits.ts").read_text()
    units = {"KIB": 1024, "MIB": 1024**2}

    def limit(name: str) -> int:
        found = re.search(rf"export const {name}: number = ([^;]+);", source)
        assert found, name
        factors = [
            units.get(each) or int(each.replace("_", "")) for each in re.split(r"\s*(?:\*\*|<<|\*)\s*", found.group(1))
        ]
        if "**" in found.group(1):
            return factors[0] ** factors[1]
        if "<<" in found.group(1):
            return factors[0] << factors[1]
        return factors[0] * (factors[1] if len(factors) > 1 else 1)

    assert limit("BATCH_MAX_ITEMS") == plan.BATCH_MAX_ITEMS
    assert limit("BATCH_MAX_BYTES") + 8 * units["MIB"] == http.MESSAGE_MAX_BYTES
    assert limit("WORLD_SIZE_MAX") == plan.WORLD_SIZE_MAX
    assert limit("LANES_MAX") == order.LANES_MAX
    assert limit("LANES_DEFAULT") == receive.LANES_DEFAULT
    assert limit("BLOCK_MAX_ITEMS") == order.BLOCK_MAX_ITEMS == receive.BLOCK_MAX_ITEMS
    assert limit("BLOCKS_PER_GROUP_MAX") == order.BLOCKS_PER_GROUP_MAX
    assert limit("BLOCKS_PER_GROUP_DEFAULT") == receive.BLOCKS_PER_GROUP_DEFAULT
    assert limit("BLOCK_TARGET_BYTES") == receive.BLOCK_TARGET_BYTES
    assert limit("BLOCK_SHUFFLE_BUDGET_BYTES") == receive.BLOCK_BUDGET_BYTES
    assert limit("PATH_MAX_BYTES") == manifest.PATH_MAX_BYTES
    assert limit("DATASET_MAX_FILES") == manifest.FILES_MAX == order.ITEMS_MAX
    assert limit("FILTER_MAX_GLOBS") == globs.GLOBS_MAX
    assert limit("GLOB_MAX_CHARS") == globs.GLOB_MAX_CHARS
    assert limit("DATASET_NAME_MAX_CHARS") == schema._NAME_MAX_CHARS
    assert plan.TAILS == options.TAILS
    assert address.DEFAULT_PORT == 50052
