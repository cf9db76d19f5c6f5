"""The main job from end to end: a model trained on streamed images, killed and resumed, at other world sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import Training
from world import World

EPOCHS = 6
BATCHES = 45 * EPOCHS


def test_a_killed_run_goes_on_at_another_world_size_with_the_same_losses(
    world: World, address: str, tmp_path: Path
) -> None:
    script = Training(
        "numpy_training.py", {"CYXCLOUD_ACCESS_TOKEN": world.tokens["digits"], "CYXCLOUD_GATEWAY": world.gateway}
    )
    asked = ("digits", "--address", address, "--epochs", str(EPOCHS))
    unbroken, accuracy = script.run(*asked)
    assert sorted(unbroken) == list(range(1, BATCHES + 1))
    assert accuracy is not None
    assert accuracy >= 0.95

    resumed: dict[int, float] = {}
    file = str(tmp_path / "run.npz")
    # In the middle of an epoch, at its end, and with as many ranks as 32 images can be shared by.
    for ranks, kill_after in ((1, 70), (2, 50), (4, 60), (8, None)):
        losses, again = script.run(*asked, "--checkpoint", file, "--ranks", str(ranks), kill_after=kill_after)
        for step, loss in losses.items():
            # A step that was made but not stored before the end came is made again, with the same images.
            assert loss == pytest.approx(resumed.get(step, loss), rel=1e-9)
        resumed.update(losses)
    # Ranks add their gradients up in another order.
    assert resumed == pytest.approx(unbroken, rel=1e-6)
    assert again == pytest.approx(accuracy, abs=0.003)
