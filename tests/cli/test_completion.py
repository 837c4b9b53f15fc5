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
        ("ptft ckpt=", ["ckpt=aaaa", "ckpt=bbbb", "ckpt=latest"]),
        ("ptft resume=", ["resume=bbbb", "resume=latest"]),
        ("ptft objective.teacher=", ["objective.teacher=aaaa", "objective.teacher=bbbb"]),
        ("ptft ckpt=./outp", ["ckpt=./outputs"]),
        ("ptft device=", ["device=auto", "device=cpu", "device=cuda", "device=mps"]),
        ("ptft train.cuda_graph=", ["train.cuda_graph=auto", "train.cuda_graph=false", "train.cuda_graph=true"]),
        ("ptft finetune.head=k", ["finetune.head=keep"]),
        ("ptft finetune.train=", [f"finetune.train={name}" for name in ("all", "bias", "head", "norm")]),
        ("ptft split=t", ["split=test", "split=train"]),
        ("ptft objective.calibrate=", ["objective.calibrate=false", "objective.calibrate=true"]),
        ("ptft train.batch_size=", ["train.batch_size=64", "train.batch_size=auto"]),
    ],
)
def test_words_and_what_stands_behind_them_are_offered(ptft, monkeypatch, line, offered):
    for name in ("10-00-00-pretrain-cnn-digits-aaaa", "11-00-00-pretrain-cnn-digits-bbbb"):
        folder, _ = run(name)
    (folder / "checkpoints" / "best.pt").rename(folder / "checkpoints" / "last.pt")
    monkeypatch.setenv("COMP_LINE", line)
    done = ptft("-sc", "query=bash")
    assert (done.code, done.out.split(), done.err) == (0, offered, "")
