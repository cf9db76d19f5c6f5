"""The four lines of the README, and the end of the companion that they started. Run as a program."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import cyxcloud
from cyxcloud.address import parse_address, probe


def main() -> None:
    world = json.loads(Path(os.environ["CYXCLOUD_TEST_WORLD"]).read_text())
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probing.getsockname()[1]}"

    items = 0
    client = cyxcloud.DataStreamClient(address, gateway=world["gateway"])
    for batch in client.stream_batches(dataset_id="digits", access_token=world["tokens"]["digits"], batch_size=32):
        images = batch.to_tensor()
        labels = batch.labels
        assert len(images) == len(labels)
        items += len(labels)

    companion = probe(parse_address(address))
    assert companion is not None
    assert companion.pid is not None
    _, script, *_ = Path(f"/proc/{companion.pid}/cmdline").read_text().split("\0")
    os.kill(companion.pid, signal.SIGTERM)
    print(f"{items} items by {script}")


if __name__ == "__main__":
    main()
