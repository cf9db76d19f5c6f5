"""Verifies a receipt as docs/formats/receipt-v1.md says, without data or gateway: pip install blake3 cryptography
python3 receipt_verify.py receipt.json jwks.json manifest [view.json: the indices that the stream's filter selects]"""
import base64, hashlib, json, struct, sys
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

sys.excepthook = lambda kind, error, _: print("refused:", kind.__name__, error, file=sys.stderr)
def check(holds, what): holds or sys.exit("refused: " + what)
def derive(what, data): return blake3(data, derive_key_context="cyxcloud-datastream 2026-11 " + what).digest()
def canonical(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

envelope, jwks, *view = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:3] + sys.argv[4:])
kind, payload = "application/vnd.cyxcloud.stream-receipt.v1+json", base64.b64decode(envelope["payload"])
[signed] = envelope["signatures"]
[key] = (key["x"] for key in jwks["keys"] if key["kid"] == signed["keyid"] and key["crv"] == "Ed25519")
message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key + "=")).verify(base64.b64decode(signed["sig"]), message)
receipt, manifest = json.loads(payload), open(sys.argv[3], "rb").read()
p, count, segments = (receipt[name] for name in ("parameters", "item_count", "segments"))
block, lanes, width = (p[name] or 0 for name in ("block_size", "lanes", "blocks_per_group"))
files = view[0] if p["filter"] else range(struct.unpack_from("<Q", manifest, 8)[0])  # manifest-v1.md
selected = derive("view v1", struct.pack("<%dI" % len(files), *files)).hex() if p["filter"] else None
check((envelope["payloadType"], receipt["format"]) == (kind, 1) and canonical(receipt) == payload, "its form")
check((blake3(manifest).hexdigest(), len(files), selected) == (p["content_hash"], count, p["view_hash"]), "other files")

def permute(epoch, purpose, index, n, x):  # order-v1.md: a keyed Feistel network, walked until it is below n
    seed = int(p["seed"]) % 2**64, epoch, 2 if lanes else 1, purpose, count, block, lanes, width, index
    seed = b"cyxcloud/order/1" + bytes.fromhex(p["content_hash"]) + struct.pack("<QQIIQIIIQ", *seed)
    left, right = divmod(x, 2 ** (half := ((n - 1).bit_length() + 1) // 2))
    for f in struct.unpack("<6I", hashlib.sha256(seed).digest()[:24]):
        f = ((f ^ right) ^ (f ^ right) >> 16) * 0x85EBCA6B % 2**32
        f = (f ^ f >> 13) * 0xC2B2AE35 % 2**32
        left, right = right, left ^ (f ^ f >> 16) % 2**half
    return x if (x := left << half | right) < n else permute(epoch, purpose, index, n, x)

def item_at(epoch, x):
    if not lanes: return permute(epoch, 0, 0, count, x) if p["mode"] == "full" else x
    y, group = x // lanes, width * block
    tail, whole = count - count % (group * lanes), count - count % block
    if x < tail:  # the lane's item y, whose group is shuffled
        y += permute(epoch, 2, y // group * lanes + x % lanes, group, y % group) - y % group
        x = (y // block * lanes + x % lanes) * block + y % block
    else: x = tail + permute(epoch, 3, 0, count - tail, x - tail)
    return permute(epoch, 1, 0, whole // block, x // block) * block + x % block if x < whole else x

for s in segments:  # transcript-v1.md
    place = {name: s[name] for name in ("epoch", "rank", "world_size", "start_index")}
    start, world, step = s["start_index"], s["world_size"], p["batch_size"] * s["world_size"]
    head, heads, standing = derive("transcript v1 start", canonical({"parameters": p, **place})), {0: None}, 0
    for i, first in enumerate(range(start, start + s["prepared_batches"] * step, step)):
        batch = [x for x in range(first + s["rank"], first + step, world) if x < count or p["tail"] == "pad"]
        check(batch and s["rank"] < world and first + (step if p["tail"] == "drop_last" else 1) <= count, "past end")
        items = (files[item_at(s["epoch"], x % count)] for x in batch)
        records = b"".join(struct.pack("<Q", j) + manifest[80 + 48 * j : 112 + 48 * j] for j in items)
        head = derive("transcript v1 step", head + struct.pack("<QI", i, len(batch)) + records)
        heads[i + 1] = head.hex()
    again = [(max(0, (t["start_index"] - start) // step), t["leases"][0]["lease"]) for t in segments if
             t["epoch"] == s["epoch"] and t["generation"] > s["generation"] and t["start_index"] < count]
    again += ((t["first_batch"], t["lease"]) for t in s["leases"])
    for lease, ack in ((t["lease"], t["acknowledgement"]) for t in s["leases"] if t["acknowledgement"]):
        stands, by = min([(ack["batches"], 0), *(since for since in again if since[1] > lease)])
        check(ack["void"] == ({"from_batch": stands, "by_lease": by} if by else None), "void acknowledgements")
        check(ack["head"] == heads[ack["batches"]], "another transcript")
        standing = max(standing, stands)
    check(s["prepared_head"] == heads[s["prepared_batches"]], "another transcript")
    check([s["acknowledged_batches"], s["acknowledged_head"]] == [standing, heads[standing]], "what is acknowledged")
    print(json.dumps({**place, "acknowledged_batches": standing, "head": heads[standing]}))
