"""A training loop whose model does nothing but take its time: the client of the product, and steps of a fixed length.

Reads from stdin JSON lines {"address", "gateway", "token", "dataset", "batch", "epochs", "step", "busy", "uncounted"}, `step`
being seconds. Answers each with {"begun"} when the first `uncounted` batches are there, and {"items", "labels", "waits",
"seconds"} at the end: seconds from asking for each further batch to its tensor and labels, and all seconds from the answer
before to the end of the last step.
"""

import json
import sys
import time

import cyxcloud

try:
    import torch

    torch.set_num_threads(1)
    FRAMEWORK = f"torch {torch.__version__}"
except ImportError:
    FRAMEWORK = cyxcloud.tensors.default_framework()


def rest(until, busy):
    """What a step costs this process: nothing, as with a device that works, or all of a processor."""
    while busy and time.perf_counter() < until:
        pass
    left = until - time.perf_counter()
    if left > 0:
        time.sleep(left)


def train(order):
    client = cyxcloud.DataStreamClient(order["address"], gateway=order["gateway"], start=False)
    step, busy = order["step"], order["busy"]
    batches = items = labels = 0
    waits = []
    asked = time.perf_counter()
    stream = client.stream_batches(
        order["dataset"], order["token"], order["batch"], shuffle=True, seed=1, epochs=order["epochs"], device="cpu"
    )
    for batch in stream:
        tensor = batch.to_tensor()
        classes = batch.labels
        now = time.perf_counter()
        labels += int(sum(classes))
        batches += 1
        if batches > order["uncounted"]:
            waits.append(now - asked)
        elif batches == order["uncounted"]:
            print(json.dumps({"begun": batches}), flush=True)
            begun = time.perf_counter()
        items += tensor.shape[0]
        del tensor, classes, batch
        if step > 0:
            rest(now + step, busy)
        asked = time.perf_counter()
    stream.close()
    return {"items": items, "labels": labels, "waits": waits, "seconds": asked - begun}


print(json.dumps({"framework": FRAMEWORK}), flush=True)
for line in sys.stdin:
    print(json.dumps(train(json.loads(line))), flush=True)
