"""Pictures and sound as datasets of Hugging Face's library hold them, in Parquet files and as save_to_disk writes."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet

from ptft.data.audio import reader as audio_reader


def png(value: int, side: int = 16) -> bytes:
    """A picture of one grey value, with one odd pixel so that no two are of one colour."""
    pixels = np.full((side, side, 3), value, np.uint8)
    pixels[0, 0] = 255 - value
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def wav(pitch: float, rate: int = 8000, count: int = 1600) -> bytes:
    tone = 6000 * torch.sin(2 * torch.pi * pitch * torch.arange(count) / rate)
    return audio_reader.encoded(tone.to(torch.int16), rate)


def cells(contents: list[bytes | None], names: list[str | None] | None = None) -> list[dict[str, object]]:
    names = [f"{i}.bin" for i in range(len(contents))] if names is None else names
    return [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]


def write(file: Path, columns: dict[str, list], **features) -> Path:
    """A Parquet file that says what its columns are, as the hub's do; features: of those that are not plain."""
    plain = {"int": "int64", "str": "string", "float": "float64"}
    whole = {name: features.get(name) or datasets.Value(plain[type(columns[name][0]).__name__]) for name in columns}
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = datasets.Features(whole).arrow_schema
    parquet.write_table(pyarrow.Table.from_pydict(columns, schema=schema), file, row_group_size=5)
    return file


def save(folder: Path, **files: Path) -> Path:
    """What save_to_disk writes of Parquet files, by split."""
    read = {
        split: datasets.load_dataset("parquet", data_files=[str(file)], split="train") for split, file in files.items()
    }
    datasets.DatasetDict(read).save_to_disk(str(folder))
    return folder
