"""Verifies the receipt of a stream as docs/formats/receipt-v1.md says: without the data, without a gateway.

    pip install blake3 cryptography
    python3 receipt_verify.py receipt.json jwks.json manifest [view.json]

jwks.json is the gateway's /.well-known/jwks.json, from where you trust it; manifest is the dataset's as it is served;
view.json, for a stream with a filter, lists the indices of the files that the filter selects, and its hash decides.
"""
import base64, hashlib, json, struct, sys
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def derive(context, data):
    return blake3(data, derive_key_context="cyxcloud-datastream 2026-11 " + context).digest()

def canonical(value):  # RFC 8785, for what receipts hold: ASCII keys, integers, text
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

def permute(p, purpose, index, n, x):  # order-v1.md
    mode = (2, *(p[k] for k in ("block_size", "lanes", "blocks_per_group"))) if p["lanes"] else (1, 0, 0, 0)
    seed = struct.pack("<QQII", int(p["seed"]) % 2**64, p["epoch"], mode[0], purpose)
    seed += struct.pack("<QIIIQ", p["count"], *mode[1:], index)
    digest = hashlib.sha256(b"cyxcloud/order/1" + bytes.fromhex(p["content_hash"]) + seed).digest()
    h = next(h for h in range(17) if 4**h >= n)
    while True:
        left, right = x >> h, x % 2**h
        for key in struct.unpack("<6I", digest[:24]):
            f = right ^ key
            f = (f ^ f >> 16) * 0x85EBCA6B % 2**32
            f = (f ^ f >> 13) * 0xC2B2AE35 % 2**32
            left, right = right, left ^ (f ^ f >> 16) % 2**h
        x = left << h | right
        if x < n:
            return x

def item_at(p, x):
    if p["mode"] != "block":
        return x if p["mode"] == "sequential" else permute(p, 0, 0, p["count"], x)
    b, l, w = p["block_size"], p["lanes"], p["blocks_per_group"]
    blocks = p["count"] // b
    grouped = blocks - blocks % (l * w)
    block, at, tail = None, x - grouped * b, p["count"] - grouped * b
    if at < 0:  # lane x % l, its group, and where the item of the lane stands there
        group, q = divmod(x // l, w * b)
        s = permute(p, 2, group * l + x % l, w * b, q)
        block, at = (group * w + s // b) * l + x % l, s
    elif (at := permute(p, 3, 0, tail, at)) < (blocks - grouped) * b:
        block = grouped + at // b
    return grouped * b + at if block is None else permute(p, 1, 0, blocks, block) * b + at % b

def main(receipt_file, jwks_file, manifest_file, view_file=None):
    envelope, jwks = (json.load(open(name, encoding="utf-8")) for name in (receipt_file, jwks_file))
    kind, payload, [signed] = envelope["payloadType"], base64.b64decode(envelope["payload"]), envelope["signatures"]
    assert kind == "application/vnd.cyxcloud.stream-receipt.v1+json", "not a receipt"
    [key] = [key["x"] for key in jwks["keys"] if key["kid"] == signed["keyid"] and key["crv"] == "Ed25519"]
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key + "=")).verify(base64.b64decode(signed["sig"]), message)
    receipt, manifest = json.loads(payload), open(manifest_file, "rb").read()
    parameters, count, segments = receipt["parameters"], receipt["item_count"], receipt["segments"]
    assert receipt["format"] == 1 and canonical(receipt) == payload, "not canonical"
    assert blake3(manifest).hexdigest() == parameters["content_hash"], "another manifest"
    files = struct.unpack_from("<Q", manifest, 8)[0]  # manifest-v1.md: the hash of file i is at 80 + 48 * i
    view = json.load(open(view_file)) if parameters["filter"] else range(files)
    selected = derive("view v1", struct.pack("<%dI" % len(view), *view)).hex() if parameters["filter"] else None
    assert count == len(view) and selected == parameters["view_hash"], "another view"
    b, tail = parameters["batch_size"], parameters["tail"]
    for s in segments:  # transcript-v1.md
        place = {name: s[name] for name in ("epoch", "rank", "world_size", "start_index")}
        start, step = s["start_index"], b * s["world_size"]
        order = {**parameters, "epoch": s["epoch"], "count": count}
        head, heads = derive("transcript v1 start", canonical({"parameters": parameters, **place})), [None]
        for i in range(s["prepared_batches"]):
            first = start + i * step
            assert first < count and (tail != "drop_last" or first + step <= count), "batches past the end"
            batch = [x for x in range(first + s["rank"], first + step, s["world_size"]) if x < count or tail == "pad"]
            items = [view[item_at(order, x % count)] for x in batch]
            assert s["rank"] < s["world_size"] and items, "batches past the end"
            each = (struct.pack("<Q", j) + manifest[80 + 48 * j : 112 + 48 * j] for j in items)
            head = derive("transcript v1 step", head + struct.pack("<QI", i, len(items)) + b"".join(each))
            heads.append(head.hex())
        standing = 0
        for lease, ack in ((each["lease"], each["acknowledgement"]) for each in s["leases"] if each["acknowledgement"]):
            assert ack["head"] == heads[ack["batches"]], "another transcript"
            undone = [(t["first_batch"], t["lease"]) for t in s["leases"] if t["lease"] > lease]
            for t in segments:  # a later world that began this epoch anew
                if t["epoch"] == s["epoch"] and t["generation"] > s["generation"] and t["start_index"] < count:
                    undone.append((max(0, (t["start_index"] - start) // step), min(e["lease"] for e in t["leases"])))
            void = min((u for u in undone if u[0] < ack["batches"]), default=None)
            assert ack["void"] == (void and {"from_batch": void[0], "by_lease": void[1]}), "void acknowledgements"
            standing = max(standing, void[0] if void else ack["batches"])
        assert (s["prepared_head"], s["acknowledged_head"]) == (heads[-1], heads[standing]), "another transcript"
        assert s["acknowledged_batches"] == standing, "acknowledged_batches"
        print(json.dumps({**place, "acknowledged_batches": standing, "head": heads[standing]}))

if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # whatever it is, the receipt is not verified
        sys.exit("refused: %s %s" % (type(error).__name__, error))
