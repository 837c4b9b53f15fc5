"""Checkpoints are whole or refused, survive a death at any moment, and never run code."""

import os
import pickle
import random
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.load import open_checkpoint
from ptft.errors import CheckpointError, StorageError
from tests.conftest import refused
from tests.helpers.processes import python

WEIGHTS = {"backbone.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}
CONTENT = {
    "config": {"seed": 0, "rates": [1e-3, None, True], "name": "ünï"},
    "spec": {"modality": "image", "shape": {"size": [2, 2], "channels": 1}},
    "weights": WEIGHTS,
    "training": {"progress": {"step": 3}, "rng": torch.get_rng_state(), "half": torch.ones(2, dtype=torch.bfloat16)},
}


@pytest.fixture
def path(tmp_path):
    """A small checkpoint."""
    checkpoint_file.write(tmp_path / "last.pt", CONTENT)
    return tmp_path / "last.pt"


def flat(value, name=""):
    """Every leaf of plain data by its place."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for part, inner in items for key, leaf in flat(inner, f"{name}/{part}").items()}
    return {name: value}


def test_what_was_written_is_read(path):
    content, digest = checkpoint_file.read(path)
    found, expected = flat(content), {**flat(CONTENT), "/format": "ptft", "/version": checkpoint_file.VERSION}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert found[name] == value
    assert digest == checkpoint_file.verify(path)


def test_any_tool_that_reads_pt_files_reads_it(path):
    content = torch.load(path, weights_only=True)
    assert torch.equal(content["weights"]["backbone.weight"], WEIGHTS["backbone.weight"])


def test_it_makes_its_folder_and_leaves_nothing_beside_it(tmp_path):
    checkpoint_file.write(tmp_path / "run" / "checkpoints" / "last.pt", CONTENT)
    checkpoint_file.write(tmp_path / "run" / "checkpoints" / "last.pt", CONTENT)
    assert [found.name for found in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.pt"]


def sample(size, ends):
    """Positions in a file: some at each end, some random ones between."""
    return sorted({*range(ends), *range(size - ends, size), *random.Random(0).sample(range(size), 150)})


def test_every_truncation_is_noticed(path):
    whole = path.read_bytes()
    for length in sample(len(whole), 110):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"empty|incomplete|not a ptft checkpoint"):
            open_checkpoint(str(path))
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="incomplete"):
        open_checkpoint(str(path))


def test_every_flipped_bit_is_noticed(path):
    whole, bits = path.read_bytes(), random.Random(1)
    for position in sample(len(whole), 110):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bits.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            open_checkpoint(str(path))


def test_a_flipped_bit_in_a_tensor_is_named_and_the_whole_one_beside_it(path):
    shutil.copy(path, path.with_name("best.pt"))
    whole = path.read_bytes()
    at = whole.index(WEIGHTS["backbone.weight"].numpy().tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(CheckpointError, match=r"last\.pt: the digest differs.*best\.pt is whole"):
        checkpoint_file.read(path)


def test_an_empty_file_and_the_whole_one_beside_it(path):
    shutil.copy(path, path.with_name("best.pt"))
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.pt: the file is empty; .*best\.pt is whole"):
        checkpoint_file.read(path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html></html>", b"hello\n", b"dir/\0" + b"\0" * 507 + b"ustar"])
def test_what_is_no_checkpoint_is_called_that(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a ptft checkpoint"):
        open_checkpoint(str(path))


def test_another_version_is_refused_by_its_number(path, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "VERSION", 7)
    checkpoint_file.write(path, CONTENT)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 7; this ptft reads format 1"):
        checkpoint_file.read(path)


def test_a_file_that_is_replaced_while_it_is_verified_is_the_one_that_was_opened(path, monkeypatch):
    newer = path.with_name("newer.pt")
    digest = checkpoint_file.write(path, CONTENT)
    checkpoint_file.write(newer, {**CONTENT, "weights": {"other": torch.ones(3)}})
    opened = Path.open

    def then_replaced(self, *arguments, **options):
        file = opened(self, *arguments, **options)
        if self == path and newer.exists():
            newer.replace(path)
        return file

    monkeypatch.setattr(Path, "open", then_replaced)
    assert checkpoint_file.verify(path) == digest
    assert not newer.exists()


DIES = """
import sys
from pathlib import Path
from ptft.checkpoint import file as checkpoint_file
from tests.helpers.dying import deaths

folder, call = Path(sys.argv[1]), sys.argv[2]


def prepare(number):
    place = folder / str(number)
    place.mkdir()
    for name in ("last.pt", "best.pt"):
        checkpoint_file.write(place / name, {"weights": {"step": 1}})
    return place


def work(place):
    if call == "write":
        checkpoint_file.write(place / "last.pt", {"weights": {"step": 2}})
    else:
        checkpoint_file.link(place / "last.pt", place / "best.pt")


print(len(list(deaths(prepare, work))) - 1)
"""
"""Saves again and again in child processes of its own; the i-th one ends, without a goodbye, before operation i."""


@pytest.mark.parametrize(("call", "operations"), [("write", 10), ("link", 2)])
def test_a_death_before_any_file_operation_leaves_a_whole_checkpoint(tmp_path, call, operations):
    done = python(DIES, str(tmp_path), call)
    assert done.returncode == 0, done.stderr
    deaths = int(done.stdout)
    assert deaths >= operations
    steps = [
        checkpoint_file.read(tmp_path / str(death) / "last.pt")[0]["weights"]["step"] for death in range(deaths + 1)
    ]
    assert steps == sorted(steps)
    assert steps[0] == 1
    assert steps[-1] == (2 if call == "write" else 1)
    for death, step in enumerate(steps):
        place = tmp_path / str(death)
        assert checkpoint_file.read(place / "best.pt")[0]["weights"] == {"step": 1}
        checkpoint_file.write(place / "best.pt", {"weights": {"step": 3}})
        assert checkpoint_file.read(place / "last.pt")[0]["weights"] == {"step": step}, "it was the same file"
        checkpoint_file.write(place / "last.pt", {"weights": {"step": 4}})
        assert sorted(found.name for found in place.iterdir()) == ["best.pt", "last.pt"], "leftovers"


def test_a_full_disk_leaves_the_checkpoint_before_it(path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {**CONTENT, "weights": {"large": torch.zeros(50_000)}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=r"last\.pt: can't be written .*it needs 20\d,\d+ bytes and [\d,]+ are"):
            checkpoint_file.write(path, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(checkpoint_file.read(path)[0]["weights"]["head.bias"], WEIGHTS["head.bias"])
    assert [found.name for found in path.parent.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_link_is_the_same_checkpoint_and_stays_when_the_other_is_written_again(path, monkeypatch, hard_links):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    best = path.with_name("best.pt")
    best.write_bytes(b"older")
    checkpoint_file.link(path, best)
    before = best.read_bytes()
    assert before == path.read_bytes()
    assert best.samefile(path) == hard_links
    checkpoint_file.write(path, {"weights": {}})
    assert best.read_bytes() == before


class Evil:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def evils(marker):
    """Three ways to touch the marker."""
    return {
        "system": Evil(os.system, f"touch {marker}"),
        "eval": Evil(eval, f"open({str(marker)!r}, 'w')"),
        "nested": {"weights": {"head": [torch.ones(1), Evil(shutil.copy, __file__, str(marker))]}},
    }


PACKED = {
    "zip": lambda evil, path: torch.save(evil, path),
    "legacy": lambda evil, path: torch.save(evil, path, _use_new_zipfile_serialization=False),
    "pickle": lambda evil, path: path.write_bytes(pickle.dumps(evil)),
    "ours": lambda evil, path: checkpoint_file.write(path, {**CONTENT, "training": evil}),
}


@pytest.mark.parametrize("kind", ["system", "eval", "nested"])
@pytest.mark.parametrize("packed", PACKED)
def test_code_is_refused_and_never_runs(tmp_path, packed, kind):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    PACKED[packed](evils(marker)[kind], path)
    with pytest.raises(CheckpointError, match=r"evil\.pt: refused, because it holds code") as error:
        open_checkpoint(str(path))
    assert "weights_only" not in str(error.value)
    assert not marker.exists()


def test_code_in_a_checkpoint_ends_the_command(ptft, tmp_path):
    torch.save(evils(tmp_path / "marker")["system"], tmp_path / "evil.pt")
    done = ptft("stage=finetune", "ckpt=evil.pt", "model=cnn")
    refused(done, 4, "evil.pt", "refused", "system")
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "outputs").exists()


FOREIGN = {
    "plain.pt": lambda weights, path: torch.save(weights, path),
    "legacy.pth": lambda weights, path: torch.save(weights, path, _use_new_zipfile_serialization=False),
    "wrapped.pth": lambda weights, path: torch.save({f"module.{name}": weights[name] for name in weights}, path),
    "compiled.pth": lambda weights, path: torch.save(
        {f"module._orig_mod.{name}": weights[name] for name in weights}, path
    ),
    "state_dict.ckpt": lambda weights, path: torch.save({"epoch": 3, "state_dict": weights}, path),
    "model.bin": lambda weights, path: torch.save({"model": weights, "optimizer": {"state": {}}}, path),
    "weights.safetensors": lambda weights, path: save_file(weights, path),
    "no_suffix": lambda weights, path: save_file(weights, path),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_honest_weights_from_elsewhere_are_read(tmp_path, name):
    FOREIGN[name](WEIGHTS, tmp_path / name)
    found = open_checkpoint(str(tmp_path / name))
    assert found.weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(found.weights[key], WEIGHTS[key]) for key in WEIGHTS)
    assert found.config is found.spec is found.training is None
    assert found.sha256 == checkpoint_file.file_digest(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [1, 2], {"epoch": 3}, torch.ones(2)])
def test_a_file_without_named_tensors_is_no_start(tmp_path, content):
    torch.save(content, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="no tensors by name"):
        open_checkpoint(str(tmp_path / "empty.pt"))


def test_a_cut_safetensors_file_is_refused(tmp_path):
    save_file(WEIGHTS, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    for length in (0, 4, 20, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
            open_checkpoint(str(tmp_path / "cut.safetensors"))
