"""Order v1, written from docs/formats/order-v1.md with Python's standard library alone.

    python3 order_v1.py check order-v1.json    exit status 1 if any vector differs
    python3 order_v1.py write order-v1.json    compute the vectors anew
"""

import hashlib
import json
import struct
import sys

MODES = {"full": 1, "block": 2}
ITEMS, BLOCKS, GROUP, TAIL = range(4)
U32 = 0xFFFFFFFF


def fmix32(x):
    x ^= x >> 16
    x = x * 0x85EBCA6B & U32
    x ^= x >> 13
    x = x * 0xC2B2AE35 & U32
    return x ^ x >> 16


class Order:
    def __init__(self, mode, count, content_hash, seed, epoch, block_size=0, lanes=0, blocks_per_group=0):
        self.mode, self.count = mode, count
        self.content_hash, self.seed, self.epoch = content_hash, seed, epoch
        self.shape = (block_size, lanes, blocks_per_group) if mode == "block" else (0, 0, 0)

    def permute(self, purpose, index, n, x):
        message = b"cyxcloud/order/1" + self.content_hash
        message += struct.pack("<QQ", self.seed % 2**64, self.epoch)
        message += struct.pack("<IIQIIIQ", MODES[self.mode], purpose, self.count, *self.shape, index)
        assert len(message) == 100
        keys = struct.unpack("<6I", hashlib.sha256(message).digest()[:24])
        h = 0
        while 4**h < n:
            h += 1
        mask = 2**h - 1
        while True:
            left, right = x >> h, x & mask
            for key in keys:
                left, right = right, left ^ (fmix32(right ^ key) & mask)
            x = left << h | right
            if x < n:
                return x

    def item(self, p):
        if self.mode == "sequential":
            return p
        if self.mode == "full":
            return self.permute(ITEMS, 0, self.count, p)
        b, l, w = self.shape
        blocks = self.count // b
        grouped = blocks // (l * w) * l * w
        in_groups = grouped * b
        if p < in_groups:
            lane, q = p % l, p // l
            group = q // (w * b)
            s = self.permute(GROUP, group * l + lane, w * b, q % (w * b))
            dealt = (group * w + s // b) * l + lane
            return self.permute(BLOCKS, 0, blocks, dealt) * b + s % b
        t = self.permute(TAIL, 0, self.count - in_groups, p - in_groups)
        in_tail_blocks = (blocks - grouped) * b
        if t < in_tail_blocks:
            return self.permute(BLOCKS, 0, blocks, grouped + t // b) * b + t % b
        return blocks * b + t - in_tail_blocks


HASHES = [bytes(32), bytes(range(32)), hashlib.sha256(b"third").digest()]


def case_list():
    """Small orders whole, large ones at some positions."""
    for count in (1, 2, 3, 4, 5, 16, 17, 64, 100, 255):
        yield dict(mode="full", count=count, hash=count % 3, seed=count * 7, epoch=count % 4)
    yield dict(mode="sequential", count=10, hash=0, seed=1, epoch=0)
    for seed in (-1, 2**63 - 1, -(2**63), 0):
        yield dict(mode="full", count=1797, hash=1, seed=seed, epoch=2**40, sample=True)
    for count in (65536, 65537, 10**6, 2**31, 2**31 + 1, 2**32 - 1, 2**32):
        yield dict(mode="full", count=count, hash=2, seed=42, epoch=3, sample=True)
    for count in (1, 7, 8, 9, 100, 250):
        for shape in ((1, 1, 1), (2, 3, 2), (8, 1, 1), (5, 4, 1), (3, 2, 7), (300, 2, 2)):
            yield dict(mode="block", count=count, hash=1, seed=9, epoch=1, shape=shape)
    for count in (100_003, 10**7, 2**32 - 5, 2**32):
        for shape in ((341, 16, 2), (32, 64, 8), (1, 16, 2)):
            yield dict(mode="block", count=count, hash=2, seed=-77, epoch=12, shape=shape, sample=True)


def vectors():
    for case in case_list():
        shape = case.get("shape", (0, 0, 0))
        count = case["count"]
        order = Order(case["mode"], count, HASHES[case["hash"]], case["seed"], case["epoch"], *shape)
        vector = {
            "mode": case["mode"],
            "count": count,
            "content_hash": HASHES[case["hash"]].hex(),
            "seed": str(case["seed"]),
            "epoch": case["epoch"],
        }
        if case["mode"] == "block":
            vector |= dict(zip(("block_size", "lanes", "blocks_per_group"), shape))
        if case.get("sample"):
            positions = [*range(8), *(count * i // 23 for i in range(1, 23)), *range(count - 8, count)]
            vector["positions"] = positions
        else:
            positions = range(count)
        vector["items"] = [order.item(p) for p in positions]
        yield vector


def main(action, path):
    computed = list(vectors())
    if action == "write":
        with open(path, "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(v) for v in computed) + "\n]\n")
        return 0
    with open(path) as file:
        stored = json.load(file)
    different = [i for i, (a, b) in enumerate(zip(stored, computed)) if a != b]
    if different or len(stored) != len(computed):
        print(f"vectors differ: {different}, {len(stored)} stored, {len(computed)} computed")
        return 1
    print(f"{len(computed)} vectors, {sum(len(v['items']) for v in computed)} items reproduced")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
