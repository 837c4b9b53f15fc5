"""Code of the user's own that is not the one a checkpoint was trained with: it is said, wherever it is asked."""

import warnings
from pathlib import Path

import pytest
import torch

import ptft as package
from ptft.checkpoint import file as checkpoint_file
from ptft.config.settled import own_code
from tests.conftest import FEW

NET = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=4)

    def forward(self, images):
        return self.conv(images).{act}().mean((2, 3))
"""
SMALL = (*FEW, "dataset.size=12", "precision=fp32", "train.layout=contiguous", "report=false", "trusted=[tiny]")
MADE = ("stage=pretrain", "objective=classify", "model._target_=tiny.Tiny", *SMALL, "train.steps=1")
SAID = "the code of tiny is not the one that {} was trained with: it may compute something else"


@pytest.fixture
def made(ptft):
    """A run whose code is changed while it trains, as somebody goes on writing it."""
    goes_on = "from pathlib import Path\nPath(__file__).write_text(Path(__file__).read_text() + '# more')\n"
    Path("tiny.py").write_text(NET.format(act="relu") + goes_on)
    before = Path("tiny.py").read_text()
    done = ptft(*MADE, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert Path("tiny.py").read_text() != before
    Path("tiny.py").write_text(before)
    return before


def test_it_is_said_of_code_that_was_edited_and_of_no_other(ptft, made, tmp_path):
    best, last = (tmp_path / "run" / "checkpoints" / f"{name}.pt" for name in ("best", "last"))
    Path("tiny.py").write_text(NET.format(act="tanh"))
    exported = best.with_suffix(".safetensors")
    asked = {
        ("stage=evaluate", "ckpt=run", f"against={last}"): (best, last),
        ("stage=evaluate", f"ckpt={exported}", "dry_run=true"): (exported,),
        ("stage=finetune", "ckpt=run", "dataset=glyphs", *FEW, "train.steps=1", "dry_run=true"): (best,),
        ("resume=run", "train.steps=2"): (last,),
    }
    for words, paths in asked.items():
        done = ptft(*words, "trusted=[tiny]")
        assert done.code == 0, done.text
        assert [done.out.count(SAID.format(path)) for path in paths] == [1] * len(paths), done.text
    with warnings.catch_warnings(record=True) as caught:
        package.load(last, trusted=["tiny"])
    assert not caught, "it went on with this code"
    Path("tiny.py").write_text(made)
    with pytest.warns(UserWarning, match="the code of tiny is not"):
        package.load(last, trusted=["tiny"])


def test_nothing_is_said_where_it_is_the_same_or_nobody_knows(ptft, made):
    evaluate = ("stage=evaluate", "ckpt=run", "trusted=[tiny]")
    assert "the code of" not in ptft(*evaluate).text
    best = Path("run/checkpoints/best.pt")
    content = {key: value for key, value in torch.load(best, weights_only=True).items() if key != "code"}
    checkpoint_file.write(best, content)
    Path("tiny.py").write_text(NET.format(act="tanh"))
    assert "the code of" not in ptft(*evaluate).text


def test_a_package_may_lie_in_several_folders(monkeypatch, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "spread").mkdir(parents=True)
        (tmp_path / name / "spread" / f"{name}.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / name)
    before = own_code.digests(["spread.one"])
    (tmp_path / "one" / "spread" / "one.py").write_text("import os")
    assert own_code.digests(["spread.one"]).keys() == before.keys() == {"spread"}
    assert own_code.digests(["spread.one"]) != before
