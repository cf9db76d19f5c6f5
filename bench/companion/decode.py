"""What a training script does without a companion: PIL and numpy, in torch's DataLoader where torch is installed.

Reads from stdin one JSON line {"file", "lengths", "batch", "work", "images", "workers"}, answers one {"images", "cpu"}:
CPU seconds of this process and its workers for so many images. Nothing is verified here. Its first line is {"name"}.
"""

import io
import json
import math
import random
import resource
import sys

import numpy
import PIL
from PIL import Image

try:
    import torch
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(1)
except ImportError:
    torch, Dataset = None, object

MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)
STD = numpy.array([0.229, 0.224, 0.225], numpy.float32)


def decode(data):
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def resize(data):
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.BILINEAR))


def augment(data):
    """torchvision's RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    box = (0, 0, width, height)
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            box = (left, top, left + w, top + h)
            break
    image = image.crop(box).resize((224, 224), Image.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    values = (numpy.asarray(image, numpy.float32) / 255 - MEAN) / STD
    return numpy.ascontiguousarray(values.transpose(2, 0, 1))


WORKS = {"decode": decode, "resize": resize, "augment": augment}


class Items(Dataset):
    """The items over and over, so that starting a worker costs next to nothing."""

    def __init__(self, items, work, count):
        self.items, self.work, self.count = items, work, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        array = self.work(self.items[index % len(self.items)])
        return torch.from_numpy(numpy.array(array)) if torch else array


def batches(dataset, size, workers):
    if torch:
        yield from DataLoader(dataset, batch_size=size, num_workers=workers)
        return
    for first in range(0, len(dataset), size):
        yield numpy.stack([dataset[i] for i in range(first, min(first + size, len(dataset)))])


def cpu():
    """Children count when they have ended, as the workers of a DataLoader have when it is exhausted."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main():
    name = f"PIL {PIL.__version__} and numpy {numpy.__version__}"
    name += f" in the DataLoader of torch {torch.__version__}" if torch else ""
    print(json.dumps({"name": name, "workers": bool(torch)}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        with open(task["file"], "rb") as file:
            items = [file.read(length) for length in task["lengths"]]
        dataset = Items(items, WORKS[task["work"]], task["images"])
        used = cpu()
        images = sum(len(batch) for batch in batches(dataset, task["batch"], task["workers"]))
        print(json.dumps({"images": images, "cpu": cpu() - used}), flush=True)


main()
