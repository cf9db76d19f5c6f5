"""What must work with nothing installed beside the package, on every Python that it supports: run as a program."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import cyxcloud  # noqa: E402
from fake_companion import FakeCompanion  # noqa: E402


def main() -> None:
    for module in pkgutil.walk_packages(cyxcloud.__path__, "cyxcloud."):
        if module.name != "cyxcloud.torch" and "._companion" not in module.name:
            importlib.import_module(module.name)
    # Compiles all the same.
    torch = TESTS.parent / "cyxcloud" / "torch.py"
    compile(torch.read_text(), str(torch), "exec")

    with tempfile.TemporaryDirectory() as folder:
        companion = FakeCompanion(Path(folder), count=30, die_after=3)
        client = cyxcloud.DataStreamClient(f"unix:{companion.path}", access_token="t")
        seen = []
        with client.stream_batches("fake", batch_size=4, epochs=2, framework="memoryview") as stream:
            for batch in stream:
                assert batch.to_tensor()[0, 0] == batch.indices[0]
                assert batch.labels == [index % 3 for index in batch.indices]
                assert len(batch.paths) == len(batch)
                seen += batch.indices
        assert seen == list(range(30)) * 2, seen
        mixture = cyxcloud.mix([client.prepare("fake", batch_size=4, framework="memoryview") for _ in range(2)], [1, 2])
        assert [batch.mixture.stream for batch in mixture if batch.mixture][:6] == [1, 0, 1] * 2
        companion.close()

    try:
        cyxcloud.DataStreamClient("https://gateway.test", access_token="t", start=False).describe("d")
    except cyxcloud.UnavailableError as error:
        print(f"ok: Python {sys.version.split()[0]}, {len(seen)} items, {error.code}")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
