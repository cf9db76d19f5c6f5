"""
Trains a small network on streamed images with PyTorch, on the GPU where there is one. Stop it wherever you like; it goes on
from its checkpoint with the next batch.

    pip install ./python torch numpy
    npm start -- --digits                       # in another terminal
    export CYXCLOUD_ACCESS_TOKEN=$(npx cyxcloud dataset token digits --quiet)
    python examples/torch_training.py digits --checkpoint run.pt
    torchrun --nproc-per-node 2 examples/torch_training.py digits --batch-size 16 --checkpoint run.pt
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import cyxcloud
from cyxcloud.torch import StreamingDataset

SEED = 20_260_701


def main() -> None:
    asked = arguments()
    if "RANK" in os.environ:
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    client = cyxcloud.DataStreamClient(asked.address, access_token=asked.token)
    train = StreamingDataset(
        asked.dataset, batch_size=asked.batch_size, client=client, filter="train/", shuffle=True, seed=SEED, tail="pad",
        transform=pixels,
    )  # fmt: skip
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: nn.Module = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = load(asked.checkpoint, model, optimizer, train, device)
    parallel = nn.parallel.DistributedDataParallel(model) if train.world_size > 1 else model

    for epoch in range(train.epoch, asked.epochs):
        train.set_epoch(epoch)
        # The dataset makes the batches; the companion has the next ones ready.
        for images, labels in DataLoader(train, batch_size=None):
            loss = nn.functional.cross_entropy(parallel(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if train.rank == 0:
                print(json.dumps({"epoch": epoch, "step": step, "loss": loss.item()}), flush=True)
                save(asked.checkpoint, model, optimizer, train, step)
    if train.rank == 0:
        print(json.dumps({"accuracy": accuracy(client, asked, model, device)}), flush=True)


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).float() / 255


@torch.no_grad()
def accuracy(client: cyxcloud.DataStreamClient, asked: argparse.Namespace, model: nn.Module, device: Any) -> float:
    """Share of the images that were held out and are named rightly."""
    held_out = StreamingDataset(
        asked.dataset, batch_size=64, client=client, filter="held-out/", transform=pixels, rank=0, world_size=1
    )
    right = total = 0
    for images, labels in held_out:
        right += int((model(images.to(device)).argmax(1) == labels.to(device)).sum())
        total += len(labels)
    return right / total


def save(file: str | None, model: nn.Module, optimizer: Any, train: StreamingDataset, step: int) -> None:
    """The model and the place in the data together, in one file that is there whole or not at all."""
    if file is None:
        return
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "data": train.state_dict(), "step": step}
    torch.save(state, f"{file}.new")
    os.replace(f"{file}.new", file)


def load(file: str | None, model: nn.Module, optimizer: Any, train: StreamingDataset, device: Any) -> int:
    if file is None or not os.path.exists(file):
        return 0
    state = torch.load(file, map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    train.load_state_dict(state["data"])
    return int(state["step"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--address", help="of a companion or a gateway; default localhost:50052")
    parser.add_argument("--token", help="access token; default CYXCLOUD_ACCESS_TOKEN")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="of each rank")
    parser.add_argument("--checkpoint", help="file that the run is kept in, and goes on from")
    return parser.parse_args()


if __name__ == "__main__":
    main()
