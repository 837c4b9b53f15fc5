"""Recordings of people who count, and texts of the same: what a language model of bytes is worth to CTC.

    python -m tests.benchmarks.counting FSDD/recordings OUT

Strings of 2 to 5 digits that follow each other, of one speaker and in noise, put together from the recordings of the
Free Spoken Digit Dataset: OUT/{train,val,test}/*.wav with a manifest, and OUT/counting.txt, a string a line. Test
strings are made of recordings 0 to 4, val of 5 to 8.
"""

from __future__ import annotations

import random
import sys
import wave
from pathlib import Path

import torch

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
PARTS = {"train": (700, range(9, 50)), "val": (120, range(5, 9)), "test": (300, range(5))}
RATE, NOISE = 8000, 0.35


def samples(file: Path) -> torch.Tensor:
    """Int16 [n] as float, -1 to 1."""
    with wave.open(str(file)) as sound:
        return torch.frombuffer(bytearray(sound.readframes(sound.getnframes())), dtype=torch.int16) / 2**15


def string(source: Path, takes: range, draw: random.Random) -> tuple[str, torch.Tensor]:
    """What is said, and how it sounds."""
    first, count, speaker = draw.randrange(10), draw.randint(2, 5), draw.choice(SPEAKERS)
    digits = [(first + step) % 10 for step in range(count)]
    parts = []
    for digit in digits:
        part = samples(source / f"{digit}_{speaker}_{draw.choice(takes)}.wav")
        parts += [torch.zeros(draw.randint(0, RATE // 10)), part / part.abs().max().clamp(min=1e-3)]
    sound = torch.cat(parts)
    level = sound.square().mean().sqrt()
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    return " ".join(WORDS[digit] for digit in digits), sound + 2 * NOISE * level * torch.randn(
        len(sound), generator=generator
    )


def main(source: Path, out: Path) -> None:
    draw = random.Random(0)
    rows = ["path,text,split"]
    for split, (count, takes) in PARTS.items():
        (out / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            text, sound = string(source, takes, draw)
            name = f"{split}/{number:04d}.wav"
            with wave.open(str(out / name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes((sound / sound.abs().max() * 30000).to(torch.int16).numpy().tobytes())
            rows.append(f"{name},{text},{split}")
    (out / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    texts = (draw.randrange(10) for _ in range(4000))
    lines = [" ".join(WORDS[(first + k) % 10] for k in range(draw.randint(2, 5))) for first in texts]
    (out / "counting.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
