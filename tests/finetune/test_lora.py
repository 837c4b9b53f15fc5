"""Low-rank factors: what they add, that merging them changes nothing, and runs that go on from merged weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import EncoderBlock

from ptft.checkpoint import file as checkpoint_file
from ptft.errors import ConfigError
from ptft.finetune import lora
from ptft.models.layers.attention import vit_block
from tests.conftest import refused, rows, summary, transfer


class Window(nn.Module):
    """Attention that reads a Linear's weight and never calls it, as Swin's does, and a Linear in two places."""

    def __init__(self):
        super().__init__()
        self.attention = nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 8))
        self.again = self.mlp

    def forward(self, x):
        return self.again(self.mlp(x + F.linear(x, self.attention.weight, self.attention.bias)))


class Net(nn.Module):
    """Every kind of module that takes factors, and one that takes none."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.block = vit_block(8, 2, 2.0, 0.0, 0.0)
        self.encoder = EncoderBlock(2, 8, 16, 0.0, 0.0)
        self.window = Window()
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.norm(self.window(self.encoder(self.block(x))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().double()


def adapted(net, targets="all", dropout=0.0):
    """The net with factors that have learned something."""
    factors = lora.attach(net, 3, 6.0, targets, dropout)
    net.double()
    for part in factors.values():
        nn.init.normal_(part.up, std=0.1)
    return factors


X = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LINEAR = {
    *("block.attention.qkv", "block.attention.project", "block.mlp.0", "block.mlp.3"),
    *("encoder.self_attention", "encoder.self_attention.out_proj", "encoder.mlp.0", "encoder.mlp.3"),
    *("window.attention", "window.mlp.0"),
}


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        ("attention", {name for name in LINEAR if "attention" in name}),
        ("linear", LINEAR),
        ("all", LINEAR | {"stem"}),
        (r"^block\..*(qkv|0)$", {"block.attention.qkv", "block.mlp.0"}),
        (["qkv", "encoder.mlp.3"], {"block.attention.qkv", "encoder.mlp.3"}),
    ],
    ids=["attention", "linear", "all", "pattern", "names"],
)
def test_targets_are_chosen_by_name(net, targets, chosen):
    assert set(lora.attach(net, 2, 4.0, targets, 0.0)) == chosen


@pytest.mark.parametrize("targets", ["decoder", ["qkv", "proj"]])
def test_targets_that_are_not_there_are_refused_with_those_that_are(net, targets):
    with pytest.raises(ConfigError, match=r"finetune\.lora\.targets: .*(decoder|proj); there is stem, block"):
        lora.attach(net, 2, 4.0, targets, 0.0)


def test_nothing_changes_at_the_start_and_only_factors_may_learn(net):
    expected, names = net(X), set(net.state_dict())
    factors = lora.attach(net, 3, 6.0, "all", 0.5)
    assert torch.equal(net.double().eval()(X), expected)
    learning = {name for name, parameter in net.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    assert learning == {f"{name}.lora.{part}" for name in [*factors, "window.again.0"] for part in ("up", "down")}
    assert set(net.state_dict()) == names | learning


def test_a_linear_adds_alpha_over_rank_times_its_factors():
    linear = nn.Sequential(nn.Linear(5, 4)).double()
    weight, bias = linear[0].weight, linear[0].bias
    factors = adapted(linear, ["0"])["0"]
    x = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(linear(x), x @ weight.T + bias + 2.0 * (x @ factors.down.T @ factors.up.T))


@pytest.mark.parametrize("training", [True, False])
def test_merged_equals_unmerged_under_the_old_names(net, training):
    names, plain = set(net.state_dict()), copy.deepcopy(net)
    adapted(net)
    net.train(training)
    merged = lora.plain_weights(net)
    assert set(merged) == names
    start = plain.state_dict()
    moved = {name for name in names if not torch.equal(merged[name], start[name])}
    assert len(moved) == 12
    plain.load_state_dict(merged)
    torch.testing.assert_close(net(X), plain(X))
    with torch.no_grad():  # where torch's attention takes a shorter way
        torch.testing.assert_close(net.eval()(X), plain.eval()(X))


def test_factors_get_gradients_everywhere_and_weights_none(net):
    factors = adapted(net)
    net(X).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for part in factors.values() for p in part.parameters())
    assert all(p.grad is None for name, p in net.named_parameters() if ".lora." not in name)


def test_dropout_drops_inputs_of_the_factors_in_training_alone(net):
    factors = adapted(net, "linear", dropout=0.5)
    assert not torch.equal(net.train()(X), net(X))
    assert torch.equal(net.eval()(X), net(X))
    assert all(part.dropout.p == 0.5 for part in factors.values())


def test_detached_it_is_what_it_was(net):
    before, expected, kinds = set(net.state_dict()), net(X), [type(module) for module in net.modules()]
    adapted(net)
    assert lora.attached(net)
    lora.detach(net)
    assert not lora.attached(net)
    assert set(net.state_dict()) == before
    assert [type(module) for module in net.modules()] == kinds
    torch.testing.assert_close(net(X), expected)


SMALL = ("dataset.limit=64", "train.steps=8", "train.every.evaluate=4", "train.batch_size=16", "precision=fp32")
LORA = ("finetune.lora.rank=2", "finetune.lora.targets=all", "optimizer.lr=0.01", "finetune.train=all")


@pytest.mark.parametrize("ema", ["null", "0.5"])
def test_a_run_leaves_plain_weights_that_evaluate_and_start_others(ptft, pretrained, tmp_path, ema):
    done = ptft("stage=finetune", f"ckpt={pretrained}", *LORA, *SMALL, f"train.ema={ema}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "LoRA of rank 2 on conv1, conv2, dense" in done.out
    run = tmp_path / "run"
    content = checkpoint_file.read(run / "checkpoints" / "last.pt")[0]
    start = checkpoint_file.read(pretrained / "checkpoints" / "best.pt")[0]["weights"]
    assert content["weights"].keys() == start.keys()
    assert any(".lora." in name for name in content["training"]["raw_weights"])
    moved = {name for name in start if not torch.equal(start[name], content["weights"][name])}
    assert moved == {f"backbone.{part}.weight" for part in ("conv1", "conv2", "dense")} | {"head.weight", "head.bias"}
    last = [row for row in rows(run) if row["split"] == "val"][-1]
    for name, split in (("val", "val"), ("test", "test")):
        assert (
            ptft("stage=evaluate", "ckpt=run/checkpoints/last.pt", f"split={split}", f"hydra.run.dir={name}").code == 0
        )
    found = summary(tmp_path / "val")["metrics"]["val"]
    assert found["accuracy"] == last["accuracy"]
    assert found["loss"] == pytest.approx(last["loss"], rel=1e-4)
    again = ptft("stage=finetune", "ckpt=run", *SMALL, "finetune.head=keep", "hydra.run.dir=again")
    assert again.code == 0, again.text
    assert transfer(tmp_path / "again")["ignored"]["tensors"] == {}


@pytest.mark.parametrize("objective", ["byol", "dino"])
def test_an_objective_that_keeps_a_copy_of_the_backbone_is_refused(objective, ptft, pretrained):
    typed = ("finetune.lora.rank=2", "finetune.lora.targets=all", "train.steps=2", "device=cpu")
    done = ptft("stage=finetune", f"ckpt={pretrained}", f"objective={objective}", *typed)
    refused(done, 2, "finetune.lora.rank=2", f"objective={objective} keeps a copy of the backbone")


def test_an_objective_whose_targets_stay_learns_by_factors(ptft, tmp_path):
    """Hidden units are found once, at the beginning: nothing of them follows the backbone."""
    typed = ("dataset=tones", "dataset.count=24", "dataset.held_out=8", "objective=hubert", "train.batch_size=8")
    small = ("model=audio_transformer", "model.width=16", "model.depth=1", "model.subsample=2", "train.steps=2")
    assert ptft("stage=pretrain", *typed, *small, "hydra.run.dir=run").code == 0
    done = ptft("stage=finetune", "ckpt=run", *typed, "finetune.lora.rank=2", "train.steps=3", "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert "LoRA of rank 2 on blocks.0.attention.qkv" in done.out
    last = (checkpoint_file.read(tmp_path / run / "checkpoints/last.pt")[0]["weights"] for run in ("run", "tuned"))
    before, after = (weights["clusters.mean"] for weights in last)
    assert torch.equal(before, after)
