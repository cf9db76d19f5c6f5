"""Inside torchdata's `StatefulDataLoader`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

from cyxcloud import DataStreamClient
from cyxcloud.torch import StreamingDataset
from fake_companion import FakeCompanion

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture
def make(companion: Callable[..., FakeCompanion]) -> Callable[..., StatefulDataLoader]:
    fake = companion(count=50)

    def loader(workers: int) -> StatefulDataLoader:
        client = DataStreamClient(f"unix:{fake.path}", access_token="t")
        dataset = StreamingDataset("fake", batch_size=4, client=client, rank=0, world_size=1)
        return StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    return loader


def items_of(given: Any) -> list[int]:
    return [int(item) for item in given[0][:, 0].tolist()]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("taken", [0, 1, 5, 6, 12])
def test_goes_on_exactly(make: Callable[..., StatefulDataLoader], workers: int, taken: int) -> None:
    whole = [items_of(given) for given in make(workers)]
    assert sorted(item for batch in whole for item in batch) == list(range(50))
    loader = make(workers)
    iterator = iter(loader)
    seen = [items_of(next(iterator)) for _ in range(taken)]
    state = loader.state_dict()
    json.dumps(state)
    again = make(workers)
    again.load_state_dict(state)
    seen += [items_of(given) for given in again]
    assert seen == whole
