"""Processing v1, written from docs/formats/processing-v1.md with Python's standard library alone: step by step, one
number at a time, where the companion reduces the steps and runs them in a kernel.

    python3 processing_v1.py check processing.json    exit status 1 if any vector differs
    python3 processing_v1.py write processing.json    compute the vectors anew
"""

import json
import math
import struct
import sys

U32 = 0xFFFFFFFF
DEFAULTS = {
    "random_resized_crop": {"scale": [0.08, 1], "ratio": [3 / 4, 4 / 3]},
    "random_horizontal_flip": {"p": 0.5},
}


def philox(counter, key):
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ k, right & U32, (left >> 32) ^ d ^ m, left & U32
        k, m = (k + 0x9E3779B9) & U32, (m + 0xBB67AE85) & U32
    return [a, b, c, d]


def draw(case, step, block):
    seed = int(case["seed"]) % 2**64
    epoch = case["epoch"]
    return philox([step << 8 | block, case["item"], epoch & U32, epoch >> 32], [seed & U32, seed >> 32])


class Image:
    """Rows of pixels of samples."""

    def __init__(self, rows):
        self.rows, self.height, self.width = rows, len(rows), len(rows[0])

    def crop(self, top, left, height, width):
        return Image([row[left : left + width] for row in self.rows[top : top + height]])

    def mirror(self):
        return Image([row[::-1] for row in self.rows])

    def transpose(self):
        return [list(column) for column in zip(*self.rows)]

    def resize(self, height, width):
        if (height, width) == (self.height, self.width):
            return self
        wide = [resample(row, width, 1 << 7, 8) for row in self.rows]
        high = [resample(column, height, 1 << 19, 20) for column in Image(wide).transpose()]
        return Image(Image(high).transpose())


def resample(line, length, half, shift):
    size, reach, out = len(line), 2 * max(len(line), length), []
    for x in range(length):
        centre = (2 * x + 1) * size
        parts = [max(0, reach - abs((2 * j + 1) * length - centre)) for j in range(size)]
        total, running, before, pixel = sum(parts), 0, 0, [half] * len(line[0])
        for j, part in enumerate(parts):
            running += part
            upto = (2 * running * 2**14 + total) // (2 * total)
            pixel = [value + (upto - before) * sample for value, sample in zip(pixel, line[j])]
            before = upto
        out.append([value >> shift for value in pixel])
    return out


def centred(image, height, width):
    return image.crop((image.height - height) // 2, (image.width - width) // 2, height, width)


def pair(size):
    return [size, size] if isinstance(size, int) else size


def random_area(image, step, case, number):
    (low, high), ratios = step["scale"], step["ratio"]
    for block in range(10):
        words = draw(case, number, block)
        area = image.height * image.width * (low + (high - low) * (words[0] / 2**32))
        least, greatest = ratios
        for bit in range(16):
            middle = math.sqrt(least * greatest)
            if words[1] >> (31 - bit) & 1:
                least = middle
            else:
                greatest = middle
        ratio = math.sqrt(least * greatest)
        width, height = math.floor(math.sqrt(area * ratio) + 0.5), math.floor(math.sqrt(area / ratio) + 0.5)
        if 0 < width <= image.width and 0 < height <= image.height:
            top = words[2] * (image.height - height + 1) >> 32
            left = words[3] * (image.width - width + 1) >> 32
            return image.crop(top, left, height, width)
    ratio = image.width / image.height
    if ratio < ratios[0]:
        height = max(1, math.floor(min(image.height, image.width / ratios[0]) + 0.5))
        return centred(image, height, image.width)
    if ratio > ratios[1]:
        width = max(1, math.floor(min(image.width, image.height * ratios[1]) + 0.5))
        return centred(image, image.height, width)
    return image


def shape(image, step, case, number):
    op = step["op"]
    if op == "resize":
        size = step["size"]
        if isinstance(size, int):
            longer = size * max(image.height, image.width) // min(image.height, image.width)
            size = [size, longer] if image.height <= image.width else [longer, size]
        return image.resize(*size)
    if op == "center_crop":
        return centred(image, *pair(step["size"]))
    if op == "random_resized_crop":
        return random_area(image, step, case, number).resize(*pair(step["size"]))
    if op == "random_horizontal_flip":
        return image.mirror() if draw(case, number, 0)[0] / 2**32 < step["p"] else image
    return image


def bfloat16(value):
    """Exact for every double: no rounding through float32 on the way."""
    if value == 0:
        return struct.pack("<H", 0x8000 if math.copysign(1, value) < 0 else 0)
    fraction, exponent = math.frexp(abs(value))
    exponent = max(exponent - 1, -126)
    scaled = abs(value) / 2.0 ** (exponent - 7)
    bits = ((exponent + 126) << 7) + round(scaled)
    return struct.pack("<H", min(bits, 0x7F80) | (0x8000 if value < 0 else 0))


PACK = {
    "uint8": lambda v: struct.pack("<B", v),
    "uint16": lambda v: struct.pack("<H", v),
    "float16": lambda v: struct.pack("<e", v),
    "float32": lambda v: struct.pack("<f", v),
    "bfloat16": bfloat16,
}


def process(case):
    processing = normalized(case["processing"])
    height, width, channels = case["shape"]
    kind = case["dtype"]
    letter = "B" if kind == "uint8" else "H"
    flat = iter(struct.unpack(f"<{height * width * channels}{letter}", bytes.fromhex(case["data"])))
    image = Image([[[next(flat) for _ in range(channels)] for _ in range(width)] for _ in range(height)])
    steps = {step["op"]: step for step in processing["steps"]}
    for number, step in enumerate(processing["steps"]):
        image = shape(image, step, case, number)
    greatest = 255 if kind == "uint8" else 65535
    normalize = steps.get("normalize")
    target = steps.get("cast", {}).get("dtype", "float32" if normalize else kind)

    def element(sample, channel):
        if target == kind:
            return PACK[target](sample)
        if target == "uint8":
            return PACK[target]((2 * sample * 255 + greatest) // (2 * greatest))
        mean, std = (normalize["mean"], normalize["std"]) if normalize else ([0], [1])
        one = len(mean) == 1
        return PACK[target]((sample / greatest - mean[0 if one else channel]) / std[0 if one else channel])

    if steps.get("layout", {}).get("order") == "NCHW":
        result = [channels, image.height, image.width]
        out = b"".join(element(p[c], c) for c in range(channels) for row in image.rows for p in row)
    else:
        result = [image.height, image.width, channels]
        out = b"".join(element(p[c], c) for row in image.rows for p in row for c in range(channels))
    return {"shape": result, "dtype": target, "data": out.hex()}


def normalized(processing):
    steps = []
    for step in processing["steps"]:
        step = {**DEFAULTS.get(step["op"], {}), **step}
        if step["op"].endswith("crop"):
            step["size"] = pair(step["size"])
        steps.append(step)
    return {"version": 1, "steps": steps}


def canonical(processing):
    """RFC 8785 for what a processing holds; numbers such as 1e-7 would need more."""
    return json.dumps(normalized(processing), sort_keys=True, separators=(",", ":"))


def cases():
    state = [1]

    def noise(count, greatest):
        out = []
        for _ in range(count):
            state[0] = (state[0] * 6364136223846793005 + 1442695040888963407) % 2**64
            out.append((state[0] >> 40) % (greatest + 1))
        return out

    def case(height, width, channels, steps, kind="uint8", seed="1", epoch=0, item=0):
        samples = noise(height * width * channels, 255 if kind == "uint8" else 65535)
        data = struct.pack(f"<{len(samples)}{'B' if kind == 'uint8' else 'H'}", *samples).hex()
        return {"processing": {"version": 1, "steps": steps}, "shape": [height, width, channels], "dtype": kind,
                "seed": seed, "epoch": epoch, "item": item, "data": data}

    flip = {"op": "random_horizontal_flip"}
    always = {"op": "random_horizontal_flip", "p": 1}
    planar = {"op": "layout", "order": "NCHW"}
    imagenet = {"op": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    yield case(7, 11, 3, [{"op": "resize", "size": [4, 5]}])
    yield case(5, 4, 3, [{"op": "resize", "size": [11, 9]}])
    yield case(12, 8, 1, [{"op": "resize", "size": 5}])
    yield case(8, 13, 4, [{"op": "resize", "size": 6}, {"op": "center_crop", "size": 5}])
    yield case(9, 9, 2, [{"op": "center_crop", "size": [4, 7]}])
    yield case(9, 6, 3, [{"op": "center_crop", "size": 5}, always, {"op": "resize", "size": [3, 4]}])
    yield case(9, 6, 3, [always, {"op": "center_crop", "size": [5, 3]}, always, always])
    yield case(10, 10, 3, [{"op": "resize", "size": [7, 8]}, always, {"op": "resize", "size": [5, 9]}, {"op": "center_crop", "size": [3, 6]}])
    for item in range(12):
        yield case(13, 17, 3, [{"op": "random_resized_crop", "size": 6}, flip], seed="-5", epoch=item % 3, item=item * 999_999_937 % 2**32)
    for item in range(4):
        yield case(6, 9, 1, [flip, {"op": "random_resized_crop", "size": [5, 4], "scale": [0.2, 0.4], "ratio": [1, 1]}],
                   seed="18446744073709551615", epoch=2**40 + item, item=item)
    yield case(20, 3, 1, [{"op": "random_resized_crop", "size": 4, "scale": [0.9, 1], "ratio": [0.75, 1.25]}])
    yield case(3, 20, 1, [{"op": "random_resized_crop", "size": 4, "scale": [0.9, 1], "ratio": [0.75, 1.25]}])
    yield case(4, 5, 3, [imagenet])
    yield case(4, 5, 3, [{"op": "resize", "size": [3, 3]}, imagenet, {"op": "cast", "dtype": "float16"}, planar])
    yield case(4, 5, 3, [planar, {"op": "cast", "dtype": "bfloat16"}, imagenet])
    yield case(4, 5, 3, [{"op": "cast", "dtype": "float32"}, planar])
    yield case(4, 5, 2, [always, planar])
    yield case(4, 5, 1, [{"op": "cast", "dtype": "float16"}])
    yield case(4, 3, 3, [{"op": "cast", "dtype": "uint8"}], kind="uint16")
    yield case(4, 3, 3, [always, {"op": "cast", "dtype": "bfloat16"}, planar], kind="uint16")
    yield case(4, 3, 1, [{"op": "center_crop", "size": 2}, planar], kind="uint16")
    yield case(3, 3, 3, [{"op": "normalize", "mean": [0.5], "std": [0.001]}, {"op": "cast", "dtype": "float32"}])


def compute():
    philoxes = [([0] * 4, [0] * 2), ([U32] * 4, [U32] * 2),
                ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0])]
    return {
        "philox": [{"counter": c, "key": k, "words": philox(c, k)} for c, k in philoxes],
        "images": [{**case, "canonical": canonical(case["processing"]), "result": process(case)} for case in cases()],
    }


def main(command, path):
    if command == "write":
        with open(path, "w") as file:
            json.dump(compute(), file, indent=1)
            file.write("\n")
        return 0
    with open(path) as file:
        stored = json.load(file)
    wrong = [v for v in stored["philox"] if philox(v["counter"], v["key"]) != v["words"]]
    wrong += [v for v in stored["images"] if process(v) != v["result"] or canonical(v["processing"]) != v["canonical"]]
    for vector in wrong:
        print("differs:", json.dumps(vector)[:300])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
