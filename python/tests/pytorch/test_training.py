"""The PyTorch example, killed and resumed, alone and with two ranks."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from training import Training
from world import World

EPOCHS = 4


def test_a_killed_run_goes_on_with_the_same_losses(world: World, address: str, tmp_path: Path) -> None:
    environment = {
        "CYXCLOUD_ACCESS_TOKEN": world.tokens["digits"],
        "CYXCLOUD_GATEWAY": world.gateway,
        "OMP_NUM_THREADS": "1",
    }
    script = Training("torch_training.py", environment)
    asked = ("digits", "--address", address, "--epochs", str(EPOCHS))
    unbroken, accuracy = script.run(*asked)
    assert accuracy is not None
    assert accuracy >= 0.9

    resumed: dict[int, float] = {}
    file = tmp_path / "run.pt"
    for kill_after in (60, 45, None):
        losses, again = script.run(*asked, "--checkpoint", str(file), kill_after=kill_after)
        resumed.update(losses)
    assert resumed == pytest.approx(unbroken, rel=1e-5)
    assert again == pytest.approx(accuracy, abs=0.003)

    # Half as many images for each of two ranks: the same for both together.
    killed = tmp_path / "killed.pt"
    script.run(*asked, "--checkpoint", str(killed), kill_after=60)
    step = torch.load(killed)["step"]
    asked = (*asked, "--batch-size", "16", "--checkpoint", str(killed))
    shared = {**environment, **cluster(), "WORLD_SIZE": "2"}
    ranks = [Training("torch_training.py", {**shared, "RANK": str(rank)}) for rank in range(2)]
    with ThreadPoolExecutor() as pool:
        other = pool.submit(ranks[1].run, *asked, is_silent=True)
        losses, again = ranks[0].run(*asked)
        other.result()
    assert sorted(losses) == list(range(step + 1, 45 * EPOCHS + 1))
    assert again == pytest.approx(accuracy, abs=0.03)


def cluster() -> dict[str, str]:
    """As torchrun sets it."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port = probing.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
