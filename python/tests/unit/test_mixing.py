"""Mixtures: the arithmetic that every language shares, and what it makes of streams."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

import cyxcloud
from cyxcloud import DataStreamClient, PreparedStream
from cyxcloud.mixing import Mixing
from fake_companion import FakeCompanion
from world import VECTORS

Make = Callable[..., FakeCompanion]


def test_vectors() -> None:
    vectors = json.loads((VECTORS / "mixing.json").read_text())
    assert vectors
    for vector in vectors:
        mixing = Mixing(vector["weights"])
        assert mixing.cycle == vector["cycle"]
        assert [mixing.at(position)[0] for position in range(len(vector["sources"]))] == vector["sources"]
        for place in vector["places"]:
            assert mixing.at(place["position"]) == (place["source"], place["index"])
            assert mixing.position_of(place["source"], place["index"]) == place["position"]
            assert mixing.count_before(place["source"], place["position"]) == place["index"]


def test_shares_are_exact_to_a_batch_everywhere() -> None:
    generator = random.Random(3)
    for _ in range(50):
        weights = [generator.randint(1, 30) for _ in range(generator.randint(1, 6))]
        mixing, counts = Mixing(weights), [0] * len(weights)
        for position in range(2 * mixing.cycle):
            for source, weight in enumerate(weights):
                assert mixing.count_before(source, position) == counts[source]
                assert abs(counts[source] - position * weight / sum(weights)) < 1
            counts[mixing.at(position)[0]] += 1


@pytest.mark.parametrize("weights", [[], [0], [1, -1], [1.5], [True], [65_536, 1], [1] * 65])
def test_weights_that_cannot_be(weights: list[Any]) -> None:
    with pytest.raises(cyxcloud.InvalidArgumentError, match=r"^weights"):
        Mixing(weights)


def prepared(companion: FakeCompanion, **options: Any) -> PreparedStream:
    client = DataStreamClient(f"unix:{companion.path}", access_token="t")
    return client.prepare("fake", batch_size=4, framework="memoryview", **options)


def seen(mixture: cyxcloud.Mixture) -> list[tuple[int, int, list[int]]]:
    return [(batch.mixture.stream, batch.epoch, batch.indices) for batch in mixture if batch.mixture is not None]


def test_ends_where_a_stream_is_exhausted_or_when_all_are_through(companion: Make) -> None:
    large, small = companion(count=40), companion(count=8)
    mixture = cyxcloud.mix([prepared(large), prepared(small)], weights=[2, 1])
    assert len(mixture) == 7
    assert [stream for stream, _, _ in seen(mixture)] == [0, 1, 0, 0, 1, 0, 0]

    mixture = cyxcloud.mix([prepared(large), prepared(small)], weights=[2, 1], exhausted="repeat")
    batches = seen(mixture)
    assert [index for stream, _, indices in batches if stream == 0 for index in indices] == list(range(40))
    assert [epoch for stream, epoch, _ in batches if stream == 1] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("exhausted", ["stop", "repeat"])
def test_goes_on_at_every_position(companion: Make, exhausted: str) -> None:
    fakes = [companion(count=20), companion(count=12), companion(count=6)]

    def mixture(position: Any = None) -> cyxcloud.Mixture:
        streams = [prepared(fake, epochs=2) for fake in fakes]
        return cyxcloud.mix(streams, weights=[3, 2, 1], exhausted=exhausted, position=position)

    whole, positions = [], [mixture().position]
    for batch in mixture():
        assert batch.mixture is not None
        whole.append((batch.mixture.stream, batch.epoch, batch.indices))
        positions.append(json.loads(json.dumps(batch.mixture.position)))
    for begun, position in enumerate(positions):
        going_on = mixture(position)
        assert len(going_on) == len(whole) - begun
        assert seen(going_on) == whole[begun:]
    assert batch.mixture.is_last


def test_each_batch_is_acknowledged_when_the_next_of_the_mixture_is_asked_for(companion: Make) -> None:
    fakes = [companion(count=40), companion(count=40)]
    with cyxcloud.mix([prepared(fake) for fake in fakes], weights=[1, 1]) as mixture:
        first = next(mixture)
        next(mixture)
        assert first.released
        fakes[0].wait(lambda: fakes[0].sent("release", connection=1))


def test_what_cannot_be_mixed(companion: Make) -> None:
    fake = companion(count=3)
    with pytest.raises(cyxcloud.InvalidArgumentError, match="batch_size"):
        cyxcloud.mix([prepared(fake, drop_last=True)], weights=[1])
    with pytest.raises(cyxcloud.InvalidArgumentError, match="tail"):
        cyxcloud.mix([prepared(fake, world_size=2)], weights=[1])
    with pytest.raises(cyxcloud.InvalidArgumentError, match="world_size"):
        cyxcloud.mix([prepared(fake), prepared(fake, world_size=2, tail="pad")], weights=[1, 1])
    with pytest.raises(cyxcloud.InvalidArgumentError, match="weights"):
        cyxcloud.mix([prepared(fake)], weights=[1, 2])
    taken = cyxcloud.mix([prepared(fake), prepared(fake)], weights=[1, 2]).position
    with pytest.raises(cyxcloud.InvalidArgumentError, match=r"taken with the weights \[1, 2\]"):
        cyxcloud.mix([prepared(fake), prepared(fake)], weights=[2, 1], position=taken)
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        prepared(fake, batchsize=3)
