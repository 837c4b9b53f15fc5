"""Checkpoints read without torch: the values that torch reads, and no code."""

import zipfile

import numpy as np
import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.errors import CheckpointError
from ptft.runs.archive import Archive, distances

GRID = torch.arange(12.0).reshape(3, 4)
WEIGHTS = {
    "a.weight": torch.randn(5, 7),
    "a.half": torch.randn(4).to(torch.bfloat16),
    "a.turned": GRID.t(),
    "a.part": GRID[1:, 2:],
    "b.count": torch.tensor(3),
    "b.none": torch.zeros(0, 3),
    "b.flags": torch.tensor([True, False]),
    "b.double": torch.randn(2, dtype=torch.float64),
    "b.parameter": torch.nn.Parameter(torch.ones(2)),
}


def written(path, weights=WEIGHTS, **more):
    checkpoint_file.write(path, {"weights": weights, "progress": {"step": 3}, **more})
    return path


def test_the_values_are_those_that_torch_reads(tmp_path):
    archive = Archive(written(tmp_path / "a.pt", spec={"classes": ["x", "é"]}))
    content, digest = checkpoint_file.read(tmp_path / "a.pt")
    assert archive.sha256 == digest
    assert archive.content["spec"] == content["spec"]
    assert archive.weights.keys() == WEIGHTS.keys()
    for name, stored in archive.weights.items():
        expected = content["weights"][name].detach()
        expected = expected.float() if expected.dtype == torch.bfloat16 else expected
        assert np.array_equal(archive.array(stored), expected.numpy()), name


def test_distances_are_relative_and_say_what_can_not_be_compared(tmp_path):
    ones = {"same.w": torch.ones(3), "far.w": torch.ones(4), "far.b": torch.zeros(2), "gone.w": torch.ones(1)}
    other = {"same.w": torch.ones(3), "far.w": 1.5 * torch.ones(4), "far.b": torch.zeros(2), "new.w": torch.ones(2, 2)}
    a = Archive(written(tmp_path / "a.pt", {**ones, "grown.w": torch.ones(2, 3)}))
    b = Archive(written(tmp_path / "b.pt", {**other, "grown.w": torch.ones(2, 4)}))
    found = {each.layer: (each.values, each.relative, each.why) for each in distances(a, b)}
    assert found == {
        "same": (3, 0.0, ""),
        "far": (6, pytest.approx(0.5), ""),
        "gone": (1, None, "only in A"),
        "grown": (6, None, "2×3 in A, 2×4 in B"),
        "new": (4, None, "only in B"),
    }


class Runs:
    def __reduce__(self):
        return print, ("code ran",)


def foreign(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: written(path, more=Runs()), "it holds __builtin__.print"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "its end is missing"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"step", b"stop")), "the digest differs"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (foreign, "is no checkpoint of ptft"),
        (lambda path: path.write_bytes(b"GIF89a"), "is no checkpoint of ptft"),
    ],
)
def test_what_is_broken_foreign_or_holds_code_is_refused_by_name(damage, said, tmp_path, capsys):
    path = written(tmp_path / "a.pt")
    damage(path)
    with pytest.raises(CheckpointError, match=f"a.pt: .*{said}"):
        Archive(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(2**40,), (4, 10**6)])
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, shape):
    archive = Archive(written(tmp_path / "a.pt"))
    stored = archive.weights["a.weight"]
    longer = type(stored)(stored.storage, 0, shape, (1,) * len(shape))
    with pytest.raises(CheckpointError, match="not all there"):
        archive.array(longer)
