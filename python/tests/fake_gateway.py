"""A gateway for tests of what a real one never does: it lies, breaks off, and hands over early."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from blake3 import blake3

from cyxcloud.direct.canonical import canonical_json
from cyxcloud.direct.hashing import Blake3, blake3_for
from cyxcloud.direct.messages import BatchMessage
from cyxcloud.direct.order import Order
from cyxcloud.direct.plan import BatchPlan
from cyxcloud.direct.transcript import StreamParameters, Transcript, framed_batch_hash
from cyxcloud.direct.wire import Writer, fields

SCHEMA = {"type": "bytes", "format": "bin", "labels": "path", "classes": ["even", "odd"]}
DATASET_ID = "6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1a"

Fault = Callable[["FakeGateway", int, BatchMessage], Any]


def encode_manifest(files: list[tuple[str, bytes]], custom_order: bool = False) -> bytes:
    paths = [path.encode() for path, _ in files]
    records, end = b"", 0
    for path, (_, data) in zip(paths, files):
        end += len(path)
        records += struct.pack("<QQ", end, len(data)) + blake3(data).digest()
    total = sum(len(data) for _, data in files)
    header = struct.pack("<4sHHQQQQ24x", b"CYXM", 1, custom_order, len(files), 64 + 48 * len(files), end, total)
    return header + records + b"".join(paths)


class FakeGateway:
    """
    :param fault: called with each batch before it is sent, and its number over all requests; may change it, or answer
        ``"break"`` to cut the connection, ``"continue"`` to hand over, or an error code to end with.
    """

    def __init__(self, count: int = 20, fault: Fault | None = None) -> None:
        names = sorted((f"{'odd' if i % 2 else 'even'}/{i:03}", b"item %d" % i) for i in range(count))
        self.files = names
        self.manifest = encode_manifest(names)
        self.fault = fault
        self.sent = 0
        self.requests: list[dict[int, Any]] = []
        self.acknowledged: list[dict[int, Any]] = []
        self.answer_acknowledgement: tuple[int, str] = (0, "")
        own = blake3_for(True)
        assert own is not None
        self.blake3: Blake3 = own
        self.info: dict[str, Any] = {
            "id": DATASET_ID, "name": "letters", "owner": "ada", "version": 1, "schema": SCHEMA,
            "schema_hash": blake3(canonical_json(SCHEMA)).hexdigest(), "content_hash": blake3(self.manifest).hexdigest(),
            "total_size_bytes": sum(len(data) for _, data in names), "file_count": count,
            "manifest_size_bytes": len(self.manifest), "trust_level": 0,
        }  # fmt: skip
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that cut the connection are what is tested here."""


def _handler_for(gateway: FakeGateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.endswith("/manifest"):
                self.whole(200, gateway.manifest)
            elif self.path.startswith("/api/datasets/"):
                self.whole(200, json.dumps(gateway.info).encode())
            else:
                self.whole(404, b'{"code":"not_found","detail":"Nothing is here."}')

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked = {
                number: value if isinstance(value, int) else bytes(value)
                for number, value in fields(memoryview(body)[5:])
            }
            if self.path.endswith("/AckBatches"):
                gateway.acknowledged.append(asked)
                status, message = gateway.answer_acknowledgement
                self.whole(200, frame(0, b"") + trailers(status, message))
            else:
                gateway.requests.append(asked)
                self.stream(asked)

        def whole(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def stream(self, asked: dict[int, Any]) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            batch_size, start, world = asked[3], asked.get(4, 0), asked.get(12, 1)
            mode = {1: "sequential", 2: "full"}[asked[13]]
            parameters = StreamParameters(
                DATASET_ID, bytes.fromhex(gateway.info["content_hash"]), bytes.fromhex(gateway.info["schema_hash"]), mode,
                asked.get(8, 0), None, batch_size, ("short", "drop_last", "pad")[asked.get(17, 0)], None, None, "framed",
            )  # fmt: skip
            plan = BatchPlan(len(gateway.files), batch_size, world, asked.get(11, 0), start, parameters.tail)
            order = Order(mode, plan.count, parameters.content_hash, parameters.seed, asked.get(10, 0))
            chain = Transcript(parameters, asked.get(10, 0), plan.rank, world, start, gateway.blake3)
            for index in range(plan.total_batches):
                positions, padded = plan.positions(index)
                indices = [order.item_at(position) for position in positions]
                items = [gateway.files[i][1] for i in indices]
                hashes = [blake3(item).digest() for item in items]
                head = chain.advance(index, indices, hashes)
                if index < asked.get(20, 0):
                    continue
                batch = BatchMessage(
                    batch_index=index, items=[memoryview(item) for item in items], item_hashes=hashes,
                    batch_hash=framed_batch_hash(index, [len(item) for item in items], hashes, gateway.blake3),
                    total_batches=plan.total_batches, is_last=index == plan.total_batches - 1, item_indices=indices,
                    stream_id=asked[9].decode(), epoch=asked.get(10, 0), transcript_head=head, padded_items=padded,
                    lease=len(gateway.requests), start_index=start, world_size=world,
                )  # fmt: skip
                said = None if gateway.fault is None else gateway.fault(gateway, gateway.sent, batch)
                gateway.sent += 1
                if said == "break":
                    self.chunk(encode(batch)[:7])
                    self.close_connection = True
                    return
                if said == "continue":
                    self.end(trailers(0, "", f"cyxcloud-continuation: {index}\r\n"))
                    return
                if isinstance(said, int):
                    self.end(trailers(said, "Not now."))
                    return
                self.chunk(encode(batch))
            self.end(trailers(0, ""))

        def chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
            self.wfile.flush()

        def end(self, last: bytes) -> None:
            self.chunk(last)
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def frame(flags: int, payload: bytes) -> bytes:
    return bytes([flags]) + len(payload).to_bytes(4, "big") + payload


def trailers(status: int, message: str, more: str = "") -> bytes:
    said = f"grpc-message: {message}\r\n" if message else ""
    return frame(0x80, f"grpc-status: {status}\r\n{said}{more}".encode())


def encode(batch: BatchMessage) -> bytes:
    writer = Writer().number(1, batch.batch_index)
    for item in batch.items:
        writer.element(2, bytes(item))
    for item_hash in batch.item_hashes:
        writer.element(3, item_hash)
    writer.data(4, batch.batch_hash).number(5, batch.total_batches).number(6, int(batch.is_last))
    for index in batch.item_indices:
        writer.present_number(7, index)
    writer.data(8, batch.stream_id).number(9, batch.epoch).data(10, batch.transcript_head)
    writer.number(11, batch.padded_items).number(12, batch.lease).number(13, batch.start_index)
    return frame(0, writer.number(14, batch.world_size).finish())
