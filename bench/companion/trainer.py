"""A trainer that takes batches and lets go of them: the client of the product, without a gateway behind the companion.

Reads from stdin one JSON line {"socket", "format": "numpy"|"memoryview"}, answers one {"batches", "bytes", "sum"}: the
sum of the first and the last byte of every batch, to show that the right bytes were there.
"""

import dataclasses
import json
import sys

from cyxcloud.handoff import open_stream
from cyxcloud.options import StreamOptions

OPTIONS = {
    **dict.fromkeys(field.name for field in dataclasses.fields(StreamOptions)),
    "dataset_id": "bench",
    "access_token": "none",
    "batch_size": 1,
    "max_trust_level": 0,
    "shuffle": "sequential",
    "seed": 0,
    "epoch": 0,
    "epochs": 1,
    "rank": 0,
    "world_size": 1,
    "tail": "short",
    "on_error": "raise",
}


def take(stream):
    batches = size = total = 0
    for batch in stream:
        tensor = batch.to_tensor()
        batches += 1
        size += tensor.nbytes
        total += int(tensor[0]) + int(tensor[-1])
        del tensor, batch
    return {"batches": batches, "bytes": size, "sum": total}


for line in sys.stdin:
    order = json.loads(line)
    stream = open_stream(order["socket"], StreamOptions(**OPTIONS), None, order["format"])
    print(json.dumps(take(stream)), flush=True)
    stream.close()
