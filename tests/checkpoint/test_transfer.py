"""Hand-over: what a finetune starts from is the checkpoint's backbone, every bit of it, and the report adds up."""

import pytest
import torch
from torchvision import models

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.transfer import load_pretrained
from ptft.config.resolve import resolve
from ptft.core import Spec
from ptft.errors import CheckpointError
from ptft.loggers.console import Console
from ptft.models.hub.torchvision import TorchvisionBackbone
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.models.layers.positions import resize_positions
from ptft.objectives.supervised.classify import Classify
from tests.conftest import ROOT, summary, transfer

SMALL = ("dataset.limit=64", "train.steps=4", "train.every.evaluate=2", "device=cpu")
VIT = ("model=vit_tiny", "model.width=16", "model.depth=2", "model.heads=2", "model.patch=4")
DIGITS = tuple("0123456789")


def ready(*overrides):
    """The run of these overrides as it stands before its first step."""
    return build(resolve(list(overrides)), Console())


def stored(folder, name="best.pt"):
    return checkpoint_file.read(folder / "checkpoints" / name)[0]["weights"]


def equal(one, other, prefix=""):
    """Whether all tensors under the prefix are there in both, and equal to the bit."""
    names = {name for name in [*one, *other] if name.startswith(prefix)}
    return bool(names) and all(name in one and name in other and torch.equal(one[name], other[name]) for name in names)


def task(backbone, classes=DIGITS):
    """Classification around a backbone for images of 16 pixels."""
    return Classify(backbone, spec(classes=classes))


def spec(size=16, channels=1, classes=DIGITS):
    return Spec("image", {"size": [size, size], "channels": channels, "fit": "none"}, classes=classes)


def test_a_finetune_starts_with_the_checkpoints_backbone_to_the_bit(pretrained):
    run = ready("stage=finetune", f"ckpt={pretrained}", *SMALL)
    assert equal(run.objective.state_dict(), stored(pretrained), "backbone.")
    assert run.parent == {
        "path": str(pretrained / "checkpoints" / "best.pt"),
        "sha256": checkpoint_file.verify(pretrained / "checkpoints" / "best.pt"),
        "run": str(pretrained),
    }


def test_without_a_checkpoint_it_does_not(pretrained):
    model = ("model.channels=[4,8]", "model.width=16")
    run = ready("stage=finetune", "ckpt=null", *model, *SMALL)
    assert not equal(run.objective.state_dict(), stored(pretrained), "backbone.")
    assert run.parent is run.transfer is None


def test_the_report_accounts_for_every_tensor(pretrained):
    run = ready("stage=finetune", f"ckpt={pretrained}", "dataset.classes=['3','5','8']", *SMALL)
    own, old = run.objective.state_dict(), stored(pretrained)
    report = run.transfer
    assert set(report["loaded"]["tensors"]) == {name for name in own if name.startswith("backbone.")}
    assert set(report["reinitialised"]["tensors"]) == set(own) - set(report["loaded"]["tensors"])
    assert report["ignored"]["tensors"] == {name: old[name].numel() for name in ("head.weight", "head.bias")}
    assert report["resized"] == {"parameters": 0, "tensors": {}}
    for kind in ("loaded", "reinitialised"):
        assert report[kind]["tensors"] == {name: own[name].numel() for name in report[kind]["tensors"]}
        assert report[kind]["parameters"] == sum(report[kind]["tensors"].values())
    assert any("new" in line and "10 classes there (0, 1, 2, …, 9), 3 here (3, 5, 8)" in line for line in run.notes)


def test_a_kept_head_is_the_checkpoints(pretrained):
    run = ready("stage=finetune", f"ckpt={pretrained}", "finetune.head=keep", *SMALL)
    assert equal(run.objective.state_dict(), stored(pretrained))
    assert run.transfer["reinitialised"]["tensors"] == run.transfer["ignored"]["tensors"] == {}


def test_a_new_head_is_new_even_where_the_classes_are_equal(pretrained):
    run = ready("stage=finetune", f"ckpt={pretrained}", *SMALL)
    assert not torch.equal(run.objective.state_dict()["head.weight"], stored(pretrained)["head.weight"])


def test_positions_follow_the_size_and_the_report_says_so(ptft, tmp_path):
    small = ("dataset.images=64", "dataset.held_out=20", "train.steps=2", "dataset.size=16", "device=cpu")
    assert ptft("stage=pretrain", *VIT, *small, "hydra.run.dir=vit").code == 0
    run = ready("stage=finetune", "ckpt=vit", "dataset.size=24", *SMALL)
    own, old = run.objective.state_dict(), stored(tmp_path / "vit")
    assert run.transfer["resized"]["tensors"] == {"backbone.positions": 6 * 6 * 16}
    assert torch.equal(own["backbone.positions"], resize_positions(old.pop("backbone.positions"), (6, 6)))
    rest = {name: value for name, value in own.items() if name != "backbone.positions"}
    assert equal(rest, old, "backbone.")
    loaded = run.transfer["loaded"]["parameters"] + run.transfer["resized"]["parameters"]
    assert loaded == sum(p.numel() for p in run.objective.backbone.parameters())


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        (lambda: CNN(spec(), (4, 8), 32), "backbone.dense.weight is 16×288 there and 32×288 here"),
        (lambda: VisionTransformer(spec(), width=16, depth=1, heads=2), "of the backbone's 17 tensors are not in it"),
    ],
)
def test_a_backbone_that_does_not_fit_is_an_error_and_loads_nothing(backbone, said):
    objective, weights = task(backbone()), task(CNN(spec(), (4, 8), 16)).state_dict()
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    with pytest.raises(CheckpointError, match=said):
        load_pretrained(objective, weights, head=False, why="", source="some.pt")
    assert equal(objective.state_dict(), before)


def test_one_missing_tensor_is_an_error():
    objective = task(CNN(spec(), (4, 8), 16))
    weights = task(CNN(spec(), (4, 8), 16)).state_dict()
    del weights["backbone.conv2.bias"]
    with pytest.raises(CheckpointError, match=r"1 of the backbone's 6 tensors are not in it \(conv2.bias\)"):
        load_pretrained(objective, weights, head=False, why="", source="some.pt")


def test_weights_without_the_counters_of_batch_normalisation_are_those_of_the_model():
    """As torch wrote them before it counted batches."""
    own, other = (Classify(TorchvisionBackbone(spec(), name="resnet18"), spec()) for _ in range(2))
    weights = {name: value for name, value in other.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_pretrained(own, weights, head=False, why="", source="old.pth")
    loaded = own.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items() if name.startswith("backbone."))
    del weights["backbone.net.bn1.running_mean"]
    with pytest.raises(CheckpointError, match=r"not in it \(net\.bn1\.running_mean\)"):
        load_pretrained(own, weights, head=False, why="", source="old.pth")


def test_a_head_that_does_not_fit_can_not_be_kept():
    objective, weights = task(CNN(spec(), (4, 8), 16)), task(CNN(spec(), (4, 8), 16), ("a", "b")).state_dict()
    with pytest.raises(CheckpointError, match=r"its head does not fit .*finetune\.head=new"):
        load_pretrained(objective, weights, head=True, why="", source="some.pt")


@pytest.mark.parametrize("prefix", ["", "net.", "encoder.", "student.backbone.", "model.encoder.net.", "net.net."])
def test_foreign_weights_are_found_by_their_names(prefix):
    net = models.mobilenet_v3_small(num_classes=7)
    weights = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    backbone = TorchvisionBackbone(spec(64, 3), name="mobilenet_v3_small", stem="original")
    objective = Classify(backbone, spec(64, 3))
    report = load_pretrained(objective, weights, head=False, why="", source="some.pth")
    own, old = objective.backbone.net.state_dict(), net.state_dict()
    assert equal(own, {name: old[name] for name in own})
    assert {name.rsplit(".", 2)[-2] for name in report.ignored} == {"3"}
    assert sum(report.ignored.values()) == 7 * 1024 + 7


@pytest.mark.parametrize("averaged", ["teacher", "model_ema"])
def test_of_two_parts_that_fit_equally_the_averaged_one_is_taken_and_said(averaged):
    parts = {name: CNN(spec(), (4, 8), 16).state_dict() for name in ("student", averaged)}
    weights = {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
    objective = task(CNN(spec(), (4, 8), 16))
    report = load_pretrained(objective, weights, head=False, why="", source="some.pth")
    assert equal(objective.backbone.state_dict(), parts[averaged])
    assert report.note == f"the backbone is what lies under {averaged}. in the file; student. would fit too"
    assert set(report.ignored) == {f"student.{name}" for name in parts["student"]}


def test_of_equal_parts_the_first_is_taken():
    parts = {name: CNN(spec(), (4, 8), 16).state_dict() for name in ("encoder_q", "encoder_k")}
    weights = {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
    objective = task(CNN(spec(), (4, 8), 16))
    load_pretrained(objective, weights, head=False, why="", source="some.pth")
    assert equal(objective.backbone.state_dict(), parts["encoder_q"])


def test_a_file_of_other_names_is_refused_with_names_of_both_sides():
    objective = task(CNN(spec(), (4, 8), 16))
    with pytest.raises(
        CheckpointError, match=r"it has words\.weight, the backbone conv1\.weight.*; model= must"
    ) as caught:
        load_pretrained(objective, {"words.weight": torch.zeros(3)}, head=False, why="", source="some.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3)])
@pytest.mark.parametrize(
    ("build", "first"),
    [
        (lambda s: CNN(s, (4, 8), 16), "conv1"),
        (lambda s: VisionTransformer(s, width=16, depth=1, heads=2), "patches"),
        (lambda s: TorchvisionBackbone(s, "mobilenet_v3_small"), "net.features.0.0"),
    ],
)
def test_the_first_convolution_follows_the_channels(build, first, old, new):
    torch.manual_seed(0)
    before, objective = build(spec(channels=old)).eval(), task(build(spec(channels=new)))
    weights = {f"backbone.{name}": value for name, value in before.state_dict().items()}
    report = load_pretrained(objective, weights, head=False, why="", source="some.pt")
    assert list(report.resized) == [f"backbone.{first}.weight"]
    after, grey = objective.backbone.eval(), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        one, other = (model.pool(model(grey.expand(-1, c, -1, -1))) for model, c in ((before, old), (after, new)))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_file_of_plain_weights_starts_a_finetune(tmp_path):
    net = CNN(spec(28), (4, 8), 16)
    path = tmp_path / "plain.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, path)
    model = ("model=cnn", "model.channels=[4,8]", "model.width=16")
    run = ready("stage=finetune", f"ckpt={path}", *model, *SMALL)
    assert equal(run.objective.backbone.state_dict(), net.state_dict())
    assert run.transfer["ignored"]["tensors"] == {}


@pytest.mark.parametrize(("train", "learns"), [("head", ()), ("last:1", ("dense",)), ("last:2", ("conv2", "dense"))])
def test_frozen_parts_stay_equal_to_the_bit(ptft, tmp_path, monkeypatch, train, learns):
    monkeypatch.syspath_prepend(ROOT)
    net = (
        "model._target_=tests.helpers.self_killing.Net",
        "model.channels=[4,6]",
        "model.width=8",
        "trusted=[tests.helpers.self_killing]",
    )
    assert (
        ptft("stage=pretrain", *net, "dataset.images=64", "dataset.held_out=20", *SMALL[1:], "hydra.run.dir=start").code
        == 0
    )
    arguments = (
        "ckpt=start",
        f"finetune.train={train}",
        "train.ema=0.9",
        "trusted=[tests.helpers.self_killing]",
        *SMALL,
    )
    assert ptft("stage=finetune", *arguments, "hydra.run.dir=run").code == 0
    before, after = stored(tmp_path / "start"), stored(tmp_path / "run", "last.pt")
    names = [name for name in before if name.startswith("backbone.")]
    changed = {name.split(".")[1] for name in names if not torch.equal(before[name], after[name])}
    assert changed == set(learns)
    sizes = {name: value.numel() for name, value in after.items() if "running" not in name and "num_" not in name}
    trained = [name for name in sizes if name.startswith(("head", *(f"backbone.{part}" for part in learns)))]
    assert summary(tmp_path / "run")["trainable_parameters"] == sum(sizes[name] for name in trained)


def test_copies_of_the_backbone_that_start_from_it_are_not_said_to_be_loaded(ptft, tmp_path):
    """BYOL's teacher begins as the student does, whatever teacher the checkpoint has."""
    few = ("objective=byol", *SMALL[1:], "dataset.images=64", "dataset.held_out=20", "model.channels=[4,8]")
    assert ptft("stage=pretrain", *few, "model.width=16", "hydra.run.dir=start").code == 0
    typed = (
        "stage=finetune",
        "ckpt=start",
        "objective=byol",
        "objective.momentum=1.0",
        "train.steps=1",
        "dataset.limit=40",
    )
    done = ptft(*typed, "train.steps=1", "optimizer.lr=1e-12", "hydra.run.dir=run")
    assert done.code == 0, done.text
    said = transfer(tmp_path / "run")
    before, after = stored(tmp_path / "start"), stored(tmp_path / "run", "last.pt")
    loaded = [name for name in said["loaded"]["tensors"] if name.startswith("teacher.")]
    kept = [name for name in loaded if before[name].is_floating_point() and "running" not in name]
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert {name for name in before if name.startswith("teacher.")} == {
        *loaded,
        *(name for name in said["reinitialised"]["tensors"] if name.startswith("teacher.")),
    }
    assert "teacher.backbone.conv1.weight" in said["reinitialised"]["tensors"]
    assert "they begin anew, from the backbone or the data" in done.out
