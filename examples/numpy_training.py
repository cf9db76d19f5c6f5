"""
Trains a small network on streamed images, with numpy alone. Stop it wherever you like; it goes on from its checkpoint with
the next batch, with as many ranks as you say.

    pip install ./python numpy
    npm start -- --digits                       # in another terminal
    export CYXCLOUD_ACCESS_TOKEN=$(npx cyxcloud dataset token digits --quiet)
    python examples/numpy_training.py digits --checkpoint run.npz

One process plays all ranks here: it opens a stream for each and averages their gradients, as that many processes would.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from typing import Any

import numpy

import cyxcloud

SEED = 20_260_701
HIDDEN_UNITS = 48
LEARNING_RATE = 0.1
MOMENTUM = 0.9

Weights = dict[str, Any]


def main() -> None:
    asked = arguments()
    client = cyxcloud.DataStreamClient(asked.address, access_token=asked.token)
    schema = client.describe(asked.dataset)["dataset"]["schema"]
    if "shape" not in schema or "classes" not in schema:
        raise SystemExit(f"{asked.dataset} has no shape and classes in its schema, which this small network is made from.")
    weights = first_weights(math.prod(schema["shape"]), len(schema["classes"]))
    velocity = {name: numpy.zeros_like(value) for name, value in weights.items()}
    position, step = load(asked.checkpoint, weights, velocity)

    # Whatever the number of ranks, the batches of all of them together are the same images.
    first_epoch = 0 if position is None else position["epoch"]
    ranks = [
        client.stream_batches(
            asked.dataset,
            batch_size=asked.batch_size // asked.ranks,
            filter="train/",
            shuffle=True,
            seed=SEED,
            epochs=asked.epochs - first_epoch,
            rank=rank,
            world_size=asked.ranks,
            # Equally many full batches for every rank.
            tail="pad",
            position=position,
            framework="numpy",
        )
        for rank in range(asked.ranks)
    ]
    while True:
        batches = [batch for batch in (next(rank, None) for rank in ranks) if batch is not None]
        if not batches:
            break
        losses, gradients = zip(*(gradient_of(weights, *inputs_of(batch)) for batch in batches))
        count = sum(len(batch) for batch in batches)
        for name in weights:
            velocity[name] = MOMENTUM * velocity[name] - LEARNING_RATE * sum(each[name] for each in gradients) / count
            weights[name] += velocity[name]
        step += 1
        print(json.dumps({"epoch": batches[0].epoch, "step": step, "loss": sum(losses) / count}), flush=True)
        save(asked.checkpoint, weights, velocity, batches[0].position, step)
    print(json.dumps({"accuracy": accuracy(client, asked.dataset, weights)}), flush=True)


def inputs_of(batch: cyxcloud.Batch) -> tuple[Any, Any]:
    """Pixels as 0 to 1, one row an image, and the classes."""
    images = batch.to_tensor()
    return images.reshape(len(batch), -1) / 255.0, batch.labels


def first_weights(inputs: int, classes: int) -> Weights:
    random = numpy.random.default_rng(SEED)
    sizes = {"hidden": (inputs, HIDDEN_UNITS), "output": (HIDDEN_UNITS, classes)}
    # He et al. 2015, https://arxiv.org/abs/1502.01852: keeps the variance through rectified units.
    weights = {name: random.uniform(-1, 1, size) * numpy.sqrt(6 / size[0]) for name, size in sizes.items()}
    return {**weights, **{f"{name}_bias": numpy.zeros(size[1]) for name, size in sizes.items()}}


def scores_of(weights: Weights, images: Any) -> tuple[Any, Any]:
    hidden = numpy.maximum(0, images @ weights["hidden"] + weights["hidden_bias"])
    return hidden, hidden @ weights["output"] + weights["output_bias"]


def gradient_of(weights: Weights, images: Any, labels: Any) -> tuple[float, Weights]:
    """Cross-entropy summed over the batch, and its gradient."""
    hidden, scores = scores_of(weights, images)
    scores -= scores.max(axis=1, keepdims=True)
    likelihoods = numpy.exp(scores) / numpy.exp(scores).sum(axis=1, keepdims=True)
    rows = numpy.arange(len(labels))
    loss = -numpy.log(likelihoods[rows, labels]).sum()
    likelihoods[rows, labels] -= 1
    before = (likelihoods @ weights["output"].T) * (hidden > 0)
    gradient = {
        "hidden": images.T @ before,
        "hidden_bias": before.sum(axis=0),
        "output": hidden.T @ likelihoods,
        "output_bias": likelihoods.sum(axis=0),
    }
    return float(loss), gradient


def accuracy(client: cyxcloud.DataStreamClient, dataset: str, weights: Weights) -> float:
    """Share of the images that were held out and are named rightly."""
    right = total = 0
    for batch in client.stream_batches(dataset, batch_size=64, filter="held-out/", framework="numpy"):
        images, labels = inputs_of(batch)
        right += int((scores_of(weights, images)[1].argmax(axis=1) == labels).sum())
        total += len(batch)
    return right / total


def save(file: str | None, weights: Weights, velocity: Weights, position: cyxcloud.StreamPosition, step: int) -> None:
    """The model and the place in the data together, in one file that is there whole or not at all."""
    if file is None:
        return
    state = json.dumps({"position": position, "step": step})
    with open(f"{file}.new", "wb") as scratch:
        numpy.savez(scratch, state=state, **weights, **{f"{name}_velocity": value for name, value in velocity.items()})
    os.replace(f"{file}.new", file)


def load(file: str | None, weights: Weights, velocity: Weights) -> tuple[dict[str, int] | None, int]:
    if file is None or not os.path.exists(file):
        return None, 0
    with numpy.load(file) as saved:
        for name in weights:
            weights[name], velocity[name] = saved[name], saved[f"{name}_velocity"]
        state = json.loads(str(saved["state"]))
    return state["position"], state["step"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--address", help="of a companion or a gateway; default localhost:50052")
    parser.add_argument("--token", help="access token; default CYXCLOUD_ACCESS_TOKEN")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="of all ranks together")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--checkpoint", help="file that the run is kept in, and goes on from")
    return parser.parse_args()


if __name__ == "__main__":
    main()
