"""Fuzzing: every reader of a format on files that were valid once. What is neither read nor refused is a crash.

`tests/faults/test_fuzz.py` tries a few damages of each in every run of the tests, always the same ones. For longer:

    make fuzz FUZZ='--minutes 10 table squad'      (or python -m tests.faults.fuzzing; all readers without names)

A crash is shrunk by hypothesis and printed with the content that makes it; it becomes an example in test_fuzz.py.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ptft.errors import PtftError
from tests.helpers import options

PIECES = [
    *(bytes([value]) for value in (0, 10, 13, 34, 44, 92, 127, 255)),
    *("\ufeff".encode(), "\u2028".encode(), "e\u0301".encode(), b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"),
    *(b"\xff" * 4, b"\x00" * 4, b"\x80\x02", b"\x7f\xff\xff\xff", b"\xff" * 8),
    *(b"nan", b"-1", b"1e400", b"null", b'"', b"{}", b"[]", b"\t\t", b",,,", b"\r\r\n", b"[" * 3000, b"9" * 400),
    *(b"../../", b"/etc/passwd", b"${oc.env:HOME}", b"\x1b]0;x\x07", b"a" * 5000),
]
"""What is put into a file, or in the place of a part of it."""
ODD = [
    None,
    True,
    -1,
    0,
    2**63,
    1e308,
    float("nan"),
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    {"a": None},
    "\x00",
    "../x",
]
"""What takes the place of a node of JSON or YAML."""
NULL_ROOT = ("text", "huggingface", "huggingface_images", "huggingface_audio")
"""Datasets that read files too, though their root is null."""
SLOW = 30.0
"""Seconds of the processor that no damaged file of a few kB may take, however busy the machine is."""


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """The content with up to four damages: of its structure where it is JSON, else of its bytes."""
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()) and (nodes := _lines_of_json(content)) is not None:
            content = _replaced(draw, nodes)
            continue
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 2, 4, 16, 10**6])))
        middle = draw(st.sampled_from([b"", *PIECES])) * draw(st.sampled_from([1, 1, 1, 2, 30]))
        content = content[:start] + middle + content[end:]
    return content


def _lines_of_json(content: bytes) -> list[Any] | None:
    """A file of JSON as one node, one of JSON lines as several; None for anything else."""
    try:
        return [json.loads(content)]
    except (ValueError, RecursionError):
        pass
    try:
        return [json.loads(line) for line in content.splitlines()] or None
    except (ValueError, RecursionError):
        return None


def _replaced(draw: Any, nodes: list[Any]) -> bytes:
    """The same JSON with one node replaced, renamed or left out."""
    line = draw(st.integers(0, len(nodes) - 1))
    node: Any = nodes
    path: list[Any] = [line]
    while isinstance(child := node[path[-1]], dict | list) and child and draw(st.integers(0, 9)):
        node = child
        path.append(draw(st.sampled_from(sorted(child) if isinstance(child, dict) else range(len(child)))))
    key = path[-1]
    if draw(st.integers(0, 4)) == 0 and len(path) > 1:
        del node[key]
    else:
        node[key] = draw(st.sampled_from(ODD))
    return "\n".join(map(json.dumps, nodes)).encode()


@dataclass
class Format:
    """A reader of files. write: makes a valid tree in an empty folder; read: opens it as users would.

    files: which of the tree are damaged, as a glob.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], object]
    files: str = "**/*"


def dataset(name: str) -> Format:
    """A dataset of the group, from the tiny one in its own layout that its module's `sample` writes."""
    from ptft.builders import components
    from ptft.config import compose

    node = compose.plain(compose.compose([f"dataset={name}", "dataset.root=ROOT", *_typed(name)]))["dataset"]
    module = importlib.import_module(node["_target_"].rpartition(".")[0])

    def read(root: Path) -> None:
        source = components.source({**node, "root": str(root)}, None)
        for split in ("train", "val", "test"):
            examples = source.split(split)
            if examples is not None and len(examples):
                examples.take(torch.arange(min(len(examples), 8)))
        source.fingerprint()

    return Format(module.sample, read)


def _typed(name: str) -> list[str]:
    """What a step with it types for the dataset itself."""
    return [word for word in options.typed(f"dataset/{name}") if word.startswith("dataset.")]


def datasets() -> list[str]:
    """Those that read files: their root is not null, or files are what they are for."""
    return [name for name in options.of("dataset") if name in NULL_ROOT or _root(name) is not None]


def _root(name: str) -> Any:
    return options.node(f"dataset/{name}").get("root")


def inputs(name: str, suffix: str) -> Format:
    """What `stage=predict` reads, by the Spec that a dataset has."""
    from ptft.data import readers

    made = dataset(name)
    specs: dict[str, Any] = {}

    def write(root: Path) -> None:
        made.write(root)
        if "spec" not in specs:
            from ptft.builders import components
            from ptft.config import compose

            node = compose.plain(compose.compose([f"dataset={name}", f"dataset.root={root}", *_typed(name)]))["dataset"]
            specs["spec"] = components.source(node, None).spec

    def read(root: Path) -> None:
        spec = specs["spec"]
        module = readers.of(spec)
        for item in list(readers.find(spec, str(root), whole=False))[:8]:
            with contextlib.suppress(PtftError):
                if not isinstance(item, readers.Unreadable):
                    module.collate([readers.read(spec, item)], spec)

    return Format(write, read, f"**/*{suffix}")


def checkpoint() -> Format:
    """A run's folder: its checkpoints and the files beside them."""
    from ptft.checkpoint.load import open_checkpoint

    def write(root: Path) -> None:
        shutil.copytree(
            Path(__file__).parents[1] / "checkpoint" / "written_by_0_1_0" / "image", root, dirs_exist_ok=True
        )

    return Format(write, lambda root: open_checkpoint(str(root)), "**/*.pt")


def weights() -> Format:
    """Weights from elsewhere: a state dict as torch saves it, and safetensors."""
    from safetensors.torch import save_file

    from ptft.checkpoint.load import open_checkpoint

    def write(root: Path) -> None:
        tensors = {"conv.weight": torch.zeros(2, 1, 3, 3), "head.bias": torch.ones(3)}
        torch.save({"state_dict": tensors, "epoch": 3}, root / "a.pth")
        save_file(tensors, root / "b.safetensors")

    def read(root: Path) -> None:
        for file in sorted(root.iterdir()):
            open_checkpoint(str(file))

    return Format(write, read)


def tokenizer() -> Format:
    """A stranger's tokenizer.json."""
    from ptft.data.tokenizer import Tokenizer

    def write(root: Path) -> None:
        made = Tokenizer.train("bpe", ["a good day", "a bad day"] * 5, 300)
        assert made.text is not None
        (root / "tokenizer.json").write_text(made.text, encoding="utf-8")

    def read(root: Path) -> None:
        Tokenizer.load(root / "tokenizer.json").encode(["a good day"])

    return Format(write, read)


def configuration() -> Format:
    """A stored configuration and overrides of a run, and an experiment of somebody's."""
    from ptft.config.resolve import resolve

    def write(root: Path) -> None:
        (root / "conf" / "experiment").mkdir(parents=True)
        text = yaml.safe_dump({"train": {"steps": 3, "every": {"log": 1}}, "optimizer": {"lr": 0.1}})
        (root / "conf" / "experiment" / "theirs.yaml").write_text(f"# @package _global_\n{text}")

    def read(root: Path) -> None:
        before = os.getcwd()
        os.chdir(root)
        try:
            resolve(["stage=pretrain", "experiment=theirs"])
        finally:
            os.chdir(before)

    return Format(write, read)


def formats() -> dict[str, Callable[[], Format]]:
    """Name -> what makes it."""
    found: dict[str, Callable[[], Format]] = {name: lambda name=name: dataset(name) for name in datasets()}
    predicted = {
        "predict_image": ("image_folder", ".jpg"),
        "predict_audio": ("audio_folder", ".wav"),
        "predict_table": ("table", ".tsv"),
        "predict_words": ("conll", ".conll"),
        "predict_text": ("text", ".txt"),
        "predict_questions": ("squad", ".json"),
    }
    found |= {name: lambda args=args: inputs(*args) for name, args in predicted.items()}
    return found | {
        "checkpoint": checkpoint,
        "weights": weights,
        "tokenizer": tokenizer,
        "configuration": configuration,
    }


def examine(made: Format, folder: Path, examples: int, number: int = 0, shrink: bool = True) -> None:
    """Damage `examples` times one file of a valid tree and read it. Raises what is no typed error, with the damage.

    number: another one damages in other ways.
    """
    whole = folder / "whole"
    whole.mkdir()
    made.write(whole)
    made.read(whole)
    names = sorted(str(path.relative_to(whole)) for path in whole.glob(made.files) if path.is_file())
    assert names

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    @given(st.data())
    def attempt(data: Any) -> None:
        name = data.draw(st.sampled_from(names))
        content = data.draw(damaged((whole / name).read_bytes()))
        with changed(whole, folder / "tried", name, content) as tree:
            began = time.process_time()
            survives(made, tree)
            assert time.process_time() - began < SLOW, f"{name}: took {time.process_time() - began:.0f} s"

    attempt()


def survives(made: Format, tree: Path) -> None:
    """Reads, or refuses in a line of ptft's own."""
    with contextlib.suppress(PtftError):
        made.read(tree)


class changed:
    """A tree like `whole` in which one file is another; the others are links."""

    def __init__(self, whole: Path, tree: Path, name: str, content: bytes) -> None:
        self.whole, self.tree, self.name, self.content = whole, tree, name, content

    def __enter__(self) -> Path:
        shutil.copytree(self.whole, self.tree, copy_function=_link)
        (self.tree / self.name).unlink()
        (self.tree / self.name).write_bytes(self.content)
        return self.tree

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.tree)


def _link(source: str, target: str) -> str:
    Path(target).symlink_to(source)
    return target


def rounds(minutes: float) -> Iterator[int]:
    """Numbers until the time is over; the first always."""
    end, number = time.monotonic() + 60 * minutes, 1
    while number == 1 or time.monotonic() < end:
        yield number
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="READER", help=", ".join(formats()))
    parser.add_argument("--minutes", type=float, default=1.0, help="of each reader (default 1)")
    given_ = parser.parse_args()
    if unknown := sorted({*given_.names} - {*formats()}):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(formats())}")
    crashed = [name for name in given_.names or formats() if not _without_crash(name, given_.minutes)]
    raise SystemExit(f"crashed: {', '.join(crashed)}" if crashed else 0)


def _without_crash(name: str, minutes: float) -> bool:
    """Whether a reader survives so many minutes; a crash is printed as it was found, then by its smallest damage."""
    made, tried = formats()[name](), 0
    for number in rounds(minutes):
        if crash := _crash(made, number, shrink=False):
            print(f"{name}: CRASH\n{crash}\nlooking for the smallest damage", flush=True)
            print(f"{name}: CRASH\n{_crash(made, number, shrink=True)}", flush=True)
            return False
        tried += 200
    print(f"{name}: {tried:,} damaged files, no crash", flush=True)
    return True


def _crash(made: Format, number: int, *, shrink: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="ptft-fuzz-") as folder:
        try:
            examine(made, Path(folder), 200, number, shrink)
        except Exception:
            return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main()
