"""
A companion for tests, written from docs/formats/handoff-v1.md: serves a dataset whose item i is four bytes of i modulo 256.

Run as a program it takes the arguments that the package starts a companion with.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import socket
import struct
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cyxcloud.direct.plan import BatchPlan

ITEM_BYTES = 4
CONTENT_HASH = "ab" * 32


class FakeCompanion:
    """Accepts connections until closed; what clients sent is in `received`, one list a connection."""

    def __init__(self, folder: Path, count: int = 40, **faults: Any) -> None:
        self.path = str(folder / "companion.sock")
        self.count = count
        # die_after, drain_after: batches of the first connection. error: answer to open. undecodable: an item's index.
        # slow: a barrier before each batch. silent: never send batches.
        self.faults = faults
        self.received: list[list[dict[str, Any]]] = []
        self.connections = 0
        self.change = threading.Condition()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen(16)
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        try:
            self._server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._server.close()
        self._accepting.join()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection was left open"

    def wait(self, condition: Any) -> None:
        with self.change:
            assert self.change.wait_for(condition, 20), self.received

    def sent(self, kind: str, connection: int = 0) -> list[dict[str, Any]]:
        return [each for each in self.received[connection] if each["type"] == kind]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.received.append([])
            thread = threading.Thread(target=_Connection(self, client, len(self.received) - 1).run, daemon=True)
            self._threads.append(thread)
            thread.start()


class _Connection:
    def __init__(self, companion: FakeCompanion, client: socket.socket, number: int) -> None:
        self.companion = companion
        self.client = client
        self.number = number
        self.free: list[int] = []
        self.held: dict[int, list[int]] = {}
        self.acknowledged = 0
        self.open = True
        self.sending = threading.Lock()
        self.attached = threading.Event()

    def run(self) -> None:
        self.send(
            {
                "type": "welcome",
                "protocol": self.companion.faults.get("protocol", 1),
                "version": "0",
                "pid": os.getpid(),
            }
        )
        try:
            for line in self.client.makefile("rb"):
                self.take(json.loads(line))
        except OSError:
            pass
        with self.companion.change:
            self.open = False
            self.companion.change.notify_all()
        self.client.close()

    def send(self, message: dict[str, Any]) -> None:
        try:
            with self.sending:
                self.client.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        with self.companion.change:
            self.companion.received[self.number].append(message)
            self.companion.change.notify_all()
        if kind in ("open", "describe"):
            error = self.companion.faults.get("error")
            if error is not None:
                self.send({"type": "error", **error})
                self.client.shutdown(socket.SHUT_RDWR)
                return
            self.answer(kind, message)
        elif kind == "attached":
            os.unlink(self.ring_path)
            threading.Thread(target=self.stream, daemon=True).start()
        elif kind == "release":
            with self.companion.change:
                self.held.pop(message["lease"])
                self.free.append(message["slot"])
                self.companion.change.notify_all()
        elif kind == "paths":
            paths = [f"class-{i % 3}/{i}.bin" for i in self.held[message["lease"]]]
            self.send({"type": "paths", "lease": message["lease"], "paths": paths})
        elif kind == "close":
            self.client.shutdown(socket.SHUT_RDWR)

    def answer(self, kind: str, asked: dict[str, Any]) -> None:
        self.asked = asked
        position = asked.get("position")
        self.start, self.first = 0, 0
        self.epoch = position["epoch"] if position else asked.get("epoch", 0)
        if position and position["world_size"] == asked["world_size"]:
            self.start, self.first = position["start_index"], position["batch_index"]
        elif position:
            self.start = (
                position["start_index"] + position["batch_index"] * position["batch_size"] * position["world_size"]
            )
        plan = self.plan(self.start)
        self.last_epoch = self.epoch + asked.get("epochs", 1) - 1
        slots = asked.get("slots") or (asked.get("prefetch_batches") or 2) + 2
        self.slot_bytes = 4096 * (1 + asked["batch_size"] * (ITEM_BYTES + 16) // 4096 + 1)
        opened = {
            "type": "opened" if kind == "open" else "described",
            "stream_id": asked.get("stream_id") or ("a-stream" if kind == "open" else None),
            "dataset": {
                "id": "d",
                "name": "fake",
                "version": 1,
                "content_hash": CONTENT_HASH,
                "schema": {},
                "schema_hash": "",
                "count": self.companion.count,
                "total_bytes": 0,
                "pinned": False,
                "trust_level": 0,
            },
            "count": self.companion.count,
            "total_batches": max(0, plan.total_batches - self.first),
            "batches_per_epoch": self.plan(0).total_batches,
            "format": {"kind": "tensor", "dtype": "uint8", "shape": [ITEM_BYTES], "layout": "N…"},
        }
        if kind == "open":
            descriptor, self.ring_path = tempfile.mkstemp(dir="/dev/shm", prefix="cyxcloud-test-")
            os.ftruncate(descriptor, slots * self.slot_bytes)
            self.memory = mmap.mmap(descriptor, slots * self.slot_bytes)
            os.close(descriptor)
            self.free = list(range(slots))
            opened |= {
                "backend": "shm",
                "ring": {
                    "path": self.ring_path,
                    "size": slots * self.slot_bytes,
                    "slots": slots,
                    "slot_bytes": self.slot_bytes,
                },
            }
        self.send(opened)

    def plan(self, start: int) -> BatchPlan:
        asked = self.asked
        return BatchPlan(
            self.companion.count, asked["batch_size"], asked["world_size"], asked["rank"], start, asked["tail"]
        )

    def stream(self) -> None:
        faults = self.companion.faults if self.number == 0 else {}
        lease = 0
        for epoch in range(self.epoch, self.last_epoch + 1):
            start, first = (self.start, self.first) if epoch == self.epoch else (0, 0)
            plan = self.plan(start)
            for index in range(first, plan.total_batches):
                if lease == faults.get("die_after"):
                    self.client.shutdown(socket.SHUT_RDWR)
                    return
                if lease == faults.get("drain_after"):
                    details = {"reason": "draining"}
                    self.send({"type": "error", "code": "unavailable", "message": "Shutting down.", "details": details})
                    return
                with self.companion.change:
                    self.companion.change.wait_for(lambda: self.free or not self.open)
                    if not self.open:
                        return
                    slot = self.free.pop(0)
                    items, padded = plan.positions(index)
                    errors = []
                    if self.asked.get("on_error") == "skip" and self.companion.faults.get("undecodable") in items:
                        bad = self.companion.faults["undecodable"]
                        items.remove(bad)
                        errors = [{"index": bad, "path": f"class-{bad % 3}/{bad}.bin", "message": "is no image"}]
                    self.held[lease] = items
                at = slot * self.slot_bytes
                data = b"".join(bytes([i % 256]) * ITEM_BYTES for i in items)
                labels_at = (len(data) + 63) // 64 * 64
                indices_at = (labels_at + 4 * len(items) + 63) // 64 * 64
                self.memory[at : at + len(data)] = data
                struct.pack_into(f"<{len(items)}i", self.memory, at + labels_at, *(i % 3 for i in items))
                struct.pack_into(f"<{len(items)}Q", self.memory, at + indices_at, *items)
                self.send(
                    {
                        "type": "batch",
                        "lease": lease,
                        "slot": slot,
                        "index": index,
                        "epoch": epoch,
                        "count": len(items),
                        "total_batches": plan.total_batches,
                        "is_last": index == plan.total_batches - 1,
                        "padded": padded,
                        "tensors": [
                            {"name": "data", "dtype": "uint8", "shape": [len(items), ITEM_BYTES], "offset": 0},
                            {"name": "labels", "dtype": "int32", "shape": [len(items)], "offset": labels_at},
                            {"name": "indices", "dtype": "uint64", "shape": [len(items)], "offset": indices_at},
                        ],
                        "position": {
                            "epoch": epoch,
                            "start_index": start,
                            "batch_index": index + 1,
                            "world_size": self.asked["world_size"],
                            "batch_size": self.asked["batch_size"],
                        },
                        "errors": errors,
                    }
                )
                lease += 1
        self.send({"type": "end"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen")
    parser.add_argument("--exit-when-idle", type=float)
    parser.add_argument("--gateway")
    parser.add_argument("--fail", action="store_true")
    asked = parser.parse_args()
    if asked.fail:
        raise SystemExit("no gateway is known")
    host, _, port = asked.listen.rpartition(":")
    companion = FakeCompanion(Path(tempfile.mkdtemp(prefix="cyxcloud-fake-")))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = {
                "protocol": 1,
                "version": "0",
                "pid": os.getpid(),
                "gateway": asked.gateway,
                "handoff_socket": companion.path,
            }
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
