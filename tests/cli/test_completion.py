"""Completion in a shell of what Hydra does not know: words, runs, flags of words."""

import pytest

from tests.runs.test_lineage import run


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ptft di", ["diff"]),
        ("ptft show aa", ["aaaa"]),
        ("ptft diff aaaa bb", ["bbbb"]),
        ("ptft show la", ["latest"]),
        ("ptft rm la", []),
        ("ptft runs --s", ["--sort"]),
        ("ptft help logger/m", ["logger/mlflow"]),
        ("ptft ls mod", ["model"]),
        ("ptft cp optimizer/mu", ["optimizer/muon"]),
        ("ptft show /nowhere/", []),
        ("ptft report bb", ["bbbb"]),
        ("ptft stage=tune tune.space.optimizer.l", ["tune.space.optimizer.lr="]),
        ("ptft stage=tune tune.space.tune", []),
        ("ptft stage=tune tune.tri", ["tune.trials="]),
        ("ptft stage=finetune dataset.fo", ["dataset.fold="]),
        ("ptft stage=finetune train.pau", ["train.pause="]),
    ],
)
def test_words_and_what_stands_behind_them_are_offered(ptft, monkeypatch, line, offered):
    for name in ("10-00-00-pretrain-cnn-digits-aaaa", "11-00-00-pretrain-cnn-digits-bbbb"):
        run(name)
    monkeypatch.setenv("COMP_LINE", line)
    done = ptft("-sc", "query=bash")
    assert (done.code, done.out.split(), done.err) == (0, offered, "")
