"""What excludes what in a finetune is said in one line that names the keys, before anything is built."""

import pytest

from tests.conftest import SMALL, refused

PLAN = "finetune.train=[{until: 0.2, train: head}, {until: 1.0, train: all}]"
FINETUNE = ("stage=finetune", "ckpt={ckpt}")
LORA = "finetune.lora.rank=2"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("stage=finetune", "ckpt=null", LORA), ("finetune.lora.rank", "ckpt=null")),
        (("stage=finetune", "ckpt=null", "finetune.l2sp=0.1"), ("finetune.l2sp", "ckpt=null")),
        ((*FINETUNE, LORA, "finetune.train=last:1"), ("finetune.lora.rank", "finetune.train=last:1")),
        ((*FINETUNE, LORA, "finetune.train=bias"), ("finetune.lora.rank", "finetune.train=bias")),
        ((*FINETUNE, LORA, PLAN.replace("all", "norm")), ("finetune.lora.rank", "finetune.train=norm")),
        ((*FINETUNE, LORA, "finetune.l2sp=0.1"), ("finetune.lora.rank", "finetune.l2sp")),
        ((*FINETUNE, "finetune.l2sp=0.1", "finetune.train=head"), ("finetune.l2sp", "finetune.train=head")),
        ((*FINETUNE, "finetune.head=keep", "finetune.head_init=probe"), ("finetune.head_init=probe", "head=keep")),
        ((*FINETUNE, PLAN, "train.cuda_graph=true"), ("train.cuda_graph", "finetune.train")),
        (("stage=pretrain", "finetune.train=head"), ("finetune.train", "stage=finetune")),
        (("stage=pretrain", PLAN, LORA), ("finetune.train, finetune.lora.rank", "stage=finetune")),
        ((*FINETUNE, PLAN.replace("1.0", "0.9")), ("finetune.train=", "the last at 1")),
    ],
    ids=str,
)
def test_a_contradiction_is_one_line_that_names_the_keys(ptft, pretrained, tmp_path, typed, said):
    done = ptft(*(word.replace("{ckpt}", str(pretrained)) for word in typed))
    refused(done, 2, *said)
    assert len(done.err.splitlines()) == 1, done.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((LORA,), "finetune.lora.targets: nothing in this backbone is attention; there is conv1, conv2, dense"),
        ((LORA, "finetune.lora.targets=[dense,conv3]"), "nothing in this backbone is conv3"),
        (("finetune.train=norm",), "finetune.train=norm is not possible: this backbone has no norm layers"),
        (("finetune.train=last:7",), "finetune.train=last:7 is not possible: this backbone has 3 layers"),
    ],
    ids=str,
)
def test_what_the_backbone_does_not_have_is_refused(ptft, pretrained, typed, said):
    refused(ptft("stage=finetune", f"ckpt={pretrained}", *typed), 2, said)


def test_the_plan_of_a_dry_run_shows_when_parameters_learn(ptft, pretrained):
    plan = (
        "finetune.train=[{until: 0.2, train: head}, {until: 0.5, train: all, layer_decay: 0.5}, {until: 1, train: all}]"
    )
    done = ptft("stage=finetune", f"ckpt={pretrained}", plan, "dry_run=true", *SMALL[2:3])
    assert done.code == 0, done.text
    lines = [line for line in done.out.splitlines() if " % - " in line or "throughout" in line]
    assert "20 % - 50 % at 0.0625" not in done.out
    assert next(line.split("  ")[-1].strip() for line in lines if "dense" in line) == (
        "20 % - 50 % at 0.00025, 50 % - 100 % at 0.0005"
    )
    assert all("throughout" in line for line in lines if line.split()[0].startswith("head"))
