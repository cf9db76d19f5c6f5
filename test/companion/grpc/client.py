"""A stock gRPC client of the companion: stubs made from proto/datastream.proto, and no code of this project.

Streams an epoch, checks every item against its hash, acknowledges the last batch, and prints what it saw as JSON.

    python client.py PROTO HOST:PORT DATASET TOKEN BATCH_SIZE
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path

import grpc
from blake3 import blake3
from grpc_tools import protoc

# gRPC's own limit of 4 MiB for a message is below what a batch may have.
OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]


def stubs(proto: Path, folder: str):
    arguments = ["protoc", f"-I{proto.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", str(proto)]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    sys.path.insert(0, folder)
    return importlib.import_module(f"{proto.stem}_pb2"), importlib.import_module(f"{proto.stem}_pb2_grpc")


def main() -> None:
    proto, address, dataset, token, batch_size = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        messages, services = stubs(Path(proto), folder)
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            service = services.DataStreamServiceStub(channel)
            info = service.GetDatasetInfo(messages.GetDatasetInfoRequest(dataset_id=dataset, access_token=token))
            request = messages.StreamBatchesRequest(
                dataset_id=dataset,
                access_token=token,
                batch_size=int(batch_size),
                shuffle=True,
                seed=7,
                max_trust_level=4,
                stream_id="stock-grpc",
            )
            hashes = {}
            batches = 0
            last = None
            for batch in service.StreamBatches(request):
                digest = blake3()
                for index, item, item_hash in zip(batch.item_indices, batch.items, batch.item_hashes):
                    assert blake3(item).digest() == item_hash, f"item {index} differs from its hash"
                    digest.update(item)
                    hashes[index] = item_hash.hex()
                assert digest.digest() == batch.batch_hash, f"batch {batch.batch_index} differs from its hash"
                batches += 1
                last = batch
            assert last is not None and last.is_last
            acknowledged = service.AckBatches(
                messages.AckBatchesRequest(
                    dataset_id=dataset,
                    access_token=token,
                    stream_id=last.stream_id,
                    epoch=last.epoch,
                    lease=last.lease,
                    batch_index=last.batch_index,
                    transcript_head=last.transcript_head,
                )
            ).acknowledged_batches
            try:
                list(service.StreamBatches(messages.StreamBatchesRequest(dataset_id=dataset, access_token="x.y.z", batch_size=1)))
                refused = None
            except grpc.RpcError as error:
                refused = error.code().name
    print(
        json.dumps(
            {
                "name": info.name,
                "files": info.file_count_exact,
                "batches": batches,
                "hashes": {str(index): hashes[index] for index in sorted(hashes)},
                "acknowledged": acknowledged,
                "refused": refused,
            }
        )
    )


if __name__ == "__main__":
    main()
