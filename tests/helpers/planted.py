"""Datasets with known faults, as files: labels that are wrong, copies and near copies across splits, broken files."""

import csv
import io
import random
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.tones import Tones
from ptft.data.image.digits import Digits

SPLITS = ("train", "val", "test")


@dataclass
class Truth:
    """What was planted, by the names of `split.csv`: labels as `name`, copies as pairs of names."""

    flipped: set[str] = field(default_factory=set)
    copies: set[frozenset[str]] = field(default_factory=set)
    near: set[frozenset[str]] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    outliers: set[str] = field(default_factory=set)


def found(report: dict) -> Truth:
    """The same of an inspect.json."""
    name = lambda entry: entry["item"]["name"]  # noqa: E731
    truth = Truth()
    truth.flipped = {name(entry) for entry in report["label_errors"]}
    truth.broken = {name(entry) for entry in report["unreadable"]}
    truth.outliers = {name(entry) for entry in report["outliers"]}
    truth.copies = {frozenset(item["name"] for item in entry["items"]) for entry in report["duplicates"]}
    truth.near = {frozenset(item["name"] for item in entry["items"]) for entry in report["near_duplicates"]}
    return truth


def shares(expected: set, got: set) -> tuple[float, float]:
    """(precision, recall)."""
    hits = len(expected & got)
    return hits / max(1, len(got)), hits / max(1, len(expected))


def digits(root: Path, few: int = 20, limit: int | None = None, seed: int = 0) -> Truth:
    """Digits of 32 x 32 pixels in ROOT/SPLIT/CLASS; `few` of each kind of copy, half as many outliers, 5 % flipped."""
    draw, source, truth = random.Random(seed), Digits(size=32, limit=limit), Truth()
    kept: list[tuple[str, str, Image.Image]] = []
    for split in SPLITS:
        examples = source.split(split)
        batch = examples.take(torch.arange(min(len(examples), limit or len(examples))))
        flipped = set(draw.sample(range(len(batch["input"])), len(batch["input"]) // 20)) if split == "train" else set()
        for row, (pixels, label) in enumerate(zip(batch["input"], batch["label"].tolist(), strict=True)):
            given = (label + draw.randrange(1, 10)) % 10 if row in flipped else label
            name = f"{split}/{given}/{row:04}.png"
            image = Image.fromarray(pixels[0].numpy())
            save(image, root / name)
            if row in flipped:
                truth.flipped.add(name)
            elif split == "train":
                kept.append((name, str(label), image))
    chosen = draw.sample(kept, 2 * few)
    for place, (name, label, image) in enumerate(chosen):
        split, near = ("test", "val")[place % 2], place >= few
        other = f"{split}/{label}/{'near' if near else 'copy'}{place:02}.{'jpg' if near else 'bmp'}"
        save(ImageEnhance.Brightness(image).enhance(0.85) if near else image, root / other)
        (truth.near if near else truth.copies).add(frozenset((name, other)))
    for place in range(few // 2):
        name = f"train/{place % 10}/strange{place}.png"
        save(strange(place, kept[place][2]), root / name)
        truth.outliers.add(name)
    return broken(root, truth)


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **({"quality": 80} if path.suffix == ".jpg" else {}))


def strange(place: int, image: Image.Image) -> Image.Image:
    """Noise, a negative, a ramp."""
    noise = np.random.default_rng(place)
    if place % 3 == 0:
        return Image.fromarray(noise.integers(0, 256, (32, 32), dtype=np.uint8))
    if place % 3 == 1:
        return image.point(lambda value: 255 - value)
    return Image.fromarray(np.roll(np.linspace(0, 255, 32 * 32), 97 * place).reshape(32, 32).astype(np.uint8))


def broken(root: Path, truth: Truth) -> Truth:
    """A cut image, an empty file, and a page of text that is called an image."""
    whole = io.BytesIO()
    Image.new("L", (32, 32)).save(whole, "PNG")
    for name, content in (("cut", whole.getvalue()[:40]), ("empty", b""), ("page", b"<html>not found</html>")):
        (root / f"train/3/{name}.png").write_bytes(content)
        truth.broken.add(f"train/3/{name}.png")
    return truth


def tones(root: Path, count: int = 200, few: int = 10, seed: int = 0) -> Truth:
    """Vowels in ROOT/SPLIT/CLASS as WAV; near copies are quieter, outliers are noise, broken files cut and empty."""
    draw, truth = random.Random(seed), Truth()
    source = Tones(count=count, held_out=count // 5)
    classes, kept = source.spec.classes, []
    for split in SPLITS:
        examples = source.split(split)
        batch = examples.take(torch.arange(len(examples)))
        flipped = set(draw.sample(range(len(examples)), len(examples) // 20)) if split == "train" else set()
        waves = [wave[:length] for wave, length in zip(batch["input"], batch["length"].tolist(), strict=True)]
        for row, (wave, label) in enumerate(zip(waves, batch["label"].tolist(), strict=True)):
            given = (label + draw.randrange(1, len(classes))) % len(classes) if row in flipped else label
            name = f"{split}/{classes[given]}/{row:04}.wav"
            audio_reader.write(root / name, wave, source.spec.shape["rate"])
            if row in flipped:
                truth.flipped.add(name)
            elif split == "train":
                kept.append((name, classes[label], wave))
    for place, (name, label, wave) in enumerate(draw.sample(kept, 2 * few)):
        near = place >= few
        other = f"test/{label}/{'near' if near else 'copy'}{place}.wav"
        audio_reader.write(root / other, (wave.float() * 0.7).short() if near else wave, source.spec.shape["rate"])
        (truth.near if near else truth.copies).add(frozenset((name, other)))
    generator = torch.Generator().manual_seed(seed)
    for place in range(few // 2):
        name = f"train/{classes[0]}/strange{place}.wav"
        noise = (8000 * torch.randn(4000, generator=generator)).clamp(-32000, 32000).short()
        audio_reader.write(root / name, noise, source.spec.shape["rate"])
        truth.outliers.add(name)
    (root / f"train/{classes[0]}/empty.wav").write_bytes(b"")
    truth.broken.add(f"train/{classes[0]}/empty.wav")
    return truth


WORDS = {
    "kitchen": ("soup", "bread", "oven", "salt", "pepper", "knife", "plate", "butter", "onion", "garlic", "stew"),
    "harbour": ("boat", "sail", "anchor", "wave", "captain", "rope", "mast", "harbour", "tide", "deck", "crew"),
    "garden": ("rose", "soil", "seed", "hedge", "spade", "weed", "lawn", "bloom", "bee", "root", "pond"),
}
LINKS = ("and", "near", "with", "behind", "under", "before", "after", "without", "beside", "against")


def texts(root: Path, count: int = 600, few: int = 10, seed: int = 0) -> Truth:
    """Sentences of three topics in ROOT/SPLIT.csv; near copies differ in case and stops, outliers are gibberish."""
    draw, truth, rows = random.Random(seed), Truth(), {split: [] for split in SPLITS}
    topics = list(WORDS)
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        for _ in range(int(count * share)):
            topic = draw.choice(topics)
            words = [part for _ in range(6) for part in (draw.choice(WORDS[topic]), draw.choice(LINKS))]
            rows[split].append([f"the {' '.join(words[:-1])}", topic])
    clean = range(len(rows["train"]))
    for place in draw.sample(clean, len(clean) // 20):
        rows["train"][place][1] = draw.choice([topic for topic in topics if topic != rows["train"][place][1]])
        truth.flipped.add(line("train", place))
    sources = [place for place in clean if line("train", place) not in truth.flipped]
    for number, place in enumerate(draw.sample(sources, 2 * few)):
        text, topic = rows["train"][place]
        near = number >= few
        rows["test"].append([f"{text.capitalize()}!" if near else text, topic])
        (truth.near if near else truth.copies).add(
            frozenset((line("train", place), line("test", len(rows["test"]) - 1)))
        )
    for number in range(few // 2):
        noise = zlib.crc32(str(number).encode())
        rows["train"].append(["".join(chr(0x4E00 + (noise * (i + 7)) % 5000) for i in range(60)), topics[0]])
        truth.outliers.add(line("train", len(rows["train"]) - 1))
    root.mkdir(parents=True, exist_ok=True)
    for split, lines in rows.items():
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *lines])
    return truth


def line(split: str, place: int) -> str:
    """What a row is called: its file and line, behind the header."""
    return f"{split}.csv:{place + 2}"
