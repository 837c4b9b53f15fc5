"""What is wrong with a checkpoint: rows of the table of faults, on copies of a real one."""

import functools
import io
import os
import pickle
import re
import shutil
import tarfile

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.load import open_checkpoint
from ptft.errors import CheckpointError
from tests.conftest import contents, refused, status, summary, transfer

SMALL = ("train.steps=2", "dataset.limit=40", "hydra.run.dir=tuned")
MODEL = ("model=cnn", "model.width=16", "model.channels=[4,8]")


@pytest.fixture
def run(pretrained, tmp_path):
    """A copy of the small pretraining that a test may break."""
    return shutil.copytree(pretrained, tmp_path / "run")


def backbone(folder):
    content, _ = checkpoint_file.read(folder / "checkpoints" / "best.pt")
    return {name: value for name, value in content["weights"].items() if name.startswith("backbone.")}


def refused_and_untouched(ptft, path, *said, code=4, typed=()):
    """Refused before anything is written, and the files stay as they are."""
    here = contents(path.parent)
    refused(ptft("stage=finetune", f"ckpt={path}", *SMALL, *typed), code, str(path), *said)
    assert contents(path.parent) == here
    assert not os.path.exists("tuned")


def test_row_4_another_number_of_classes(ptft, tmp_path, run):
    five = "dataset.classes=['0','1','2','3','4']"
    result = ptft("stage=finetune", "ckpt=run", five, *SMALL, "optimizer.lr=1e-12")
    assert result.code == 0, result.text
    assert "10 classes there (0, 1, 2, …, 9), 5 here (0, 1, 2, 3, 4)" in result.out
    moved = transfer(tmp_path / "tuned")
    assert moved["loaded"]["parameters"] == sum(value.numel() for value in backbone(run).values())
    assert moved["reinitialised"] == {"parameters": 85, "tensors": {"head.weight": 80, "head.bias": 5}}
    assert moved["ignored"]["tensors"] == {"head.weight": 160, "head.bias": 10}
    for name, value in backbone(tmp_path / "tuned").items():
        assert torch.allclose(value, backbone(run)[name], atol=1e-6), name


def test_row_4_a_backbone_that_does_not_fit(ptft, tmp_path, run):
    refused(ptft("stage=finetune", "ckpt=run", "model.width=32", *SMALL), 4, "backbone.dense", "16", "32", "model=")
    assert status(tmp_path / "tuned")["exit_code"] == 4


@pytest.mark.parametrize(
    "typed",
    [("stage=evaluate", "model.width=32"), ("stage=evaluate", "dataset.size=20"), ("stage=predict", "model.width=32")],
)
def test_row_4_a_model_that_does_not_fit_is_not_measured_either(ptft, run, typed):
    Image.new("L", (28, 28)).save("photo.png")
    extra = ["input=photo.png"] if "stage=predict" in typed else []
    refused(ptft(*typed, "ckpt=run", *extra), 4, "backbone.dense.", "model=", "dataset.size=")


def test_row_5_a_path_that_is_not_there(ptft, tmp_path, run):
    (run / "notes.pt").touch()
    for typed, near in (
        ("nope.pt", ""),
        ("rum", str(run)),
        ("run/checkpoints/bets.pt", str(run / "checkpoints" / "best.pt")),
        ("run/checkpoint/best.pt", str(run / "checkpoints")),
    ):
        refused(ptft("stage=finetune", f"ckpt={typed}", *SMALL), 4, f"there is no file {tmp_path / typed}", near)
    (tmp_path / "bare").mkdir()
    refused(ptft("stage=finetune", "ckpt=bare", *SMALL), 4, "no checkpoint in", str(tmp_path / "bare"))
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("typed", ["gone.pt", "linked", "linked/checkpoints", "linked/checkpoints/last.pt"])
def test_a_link_to_a_checkpoint_that_is_gone_is_named_with_what_it_led_to(ptft, tmp_path, typed):
    (tmp_path / "gone.pt").symlink_to("somewhere.pt")
    (tmp_path / "linked" / "checkpoints").mkdir(parents=True)
    (tmp_path / "linked" / "checkpoints" / "last.pt").symlink_to(tmp_path / "step_9.pt")
    for command in ("stage=finetune", "stage=evaluate"):
        result = ptft(command, f"ckpt={typed}", "dataset=digits")
        refused(result, 4, "is a link to", "somewhere.pt" if typed == "gone.pt" else "step_9.pt")
        assert "near it" not in result.text


def test_a_link_that_leads_nowhere_hides_no_other_checkpoint(run):
    best = run / "checkpoints" / "best.pt"
    (run / "checkpoints" / "last.pt").unlink()
    (run / "checkpoints" / "last.pt").symlink_to("nothing.pt")
    assert open_checkpoint(str(run)).path == str(best)
    (run / "checkpoints" / "bests.pt").symlink_to("nothing.pt")
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(str(run / "checkpoints" / "bestz.pt"))
    assert "bests.pt" not in str(error.value)
    assert str(best) in str(error.value)


@pytest.mark.parametrize("typed", ["run/", "~/run/checkpoints/best.pt", "'~/run'", "../HERE/run/checkpoints"])
def test_row_5_a_run_folder_means_its_best(ptft, tmp_path, monkeypatch, run, typed):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ptft("stage=finetune", f"ckpt={typed.replace('HERE', tmp_path.name)}", *SMALL).code == 0
    assert summary(tmp_path / "tuned")["parent"]["path"].endswith("run/checkpoints/best.pt")
    assert summary(tmp_path / "tuned")["parent"]["sha256"] == checkpoint_file.verify(run / "checkpoints" / "best.pt")


def test_row_36_an_empty_checkpoint(ptft, run):
    best, last = run / "checkpoints" / "best.pt", run / "checkpoints" / "last.pt"
    best.write_bytes(b"")
    refused_and_untouched(ptft, best, "empty", f"{last} is whole")
    refused(ptft("stage=finetune", "ckpt=run", *SMALL), 4, str(best), "empty", f"{last} is whole")
    assert ptft("stage=finetune", f"ckpt={last}", *SMALL).code == 0


def test_row_36_an_empty_checkpoint_can_not_be_resumed(ptft, run):
    last = run / "checkpoints" / "last.pt"
    last.write_bytes(b"")
    before = contents(run)
    refused(ptft("resume=run"), 4, str(last), "empty", f"{run / 'checkpoints' / 'best.pt'} is whole")
    assert contents(run) == before


@pytest.mark.parametrize(
    "left", [lambda size: size - 1, lambda size: size // 2, lambda size: 10], ids=["a byte", "half", "all but the head"]
)
def test_row_37_a_truncated_checkpoint(ptft, run, left):
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[: left(best.stat().st_size)])
    refused_and_untouched(ptft, best, "incomplete", f"{run / 'checkpoints' / 'last.pt'} is whole")


def test_row_38_one_flipped_bit(ptft, run):
    best = run / "checkpoints" / "best.pt"
    data = bytearray(best.read_bytes())
    tensor = checkpoint_file.read(best)[0]["weights"]["backbone.dense.weight"].numpy().tobytes()
    at = data.find(tensor[:64])
    assert at > 0
    data[at + 5] ^= 1
    best.write_bytes(data)
    refused_and_untouched(ptft, best, "the digest differs", f"{run / 'checkpoints' / 'last.pt'} is whole")


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.bin"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><title>Sign in</title>", b"model weights, see the other folder\n", tar(), b"PK\3\4 no archive"],
    ids=["html", "text", "tar", "broken zip"],
)
def test_row_39_not_a_checkpoint(ptft, tmp_path, content):
    (tmp_path / "other.pt").write_bytes(content)
    said = "incomplete" if content.startswith(b"PK") else "not a ptft checkpoint"
    refused_and_untouched(ptft, tmp_path / "other.pt", said, typed=MODEL)


def test_row_39_not_the_format_of_its_name(ptft, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(tar())
    refused_and_untouched(ptft, tmp_path / "other.safetensors", "not a whole safetensors file", typed=MODEL)


def test_row_39_a_file_of_something_else(ptft, tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.pt")
    refused_and_untouched(ptft, tmp_path / "list.pt", "not a ptft checkpoint", "no tensors", typed=MODEL)


class Call:
    """Unpickles as what `function(argument)` returns."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def own_format(content, path):
    """A file that says it is ours, digest and all: whoever writes it can compute that too."""
    checkpoint_file.write(path, {"config": {}, "spec": {}, "weights": {}, "extra": content})


FORMATS = {
    "torch": torch.save,
    "torch before zip": functools.partial(torch.save, _use_new_zipfile_serialization=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "oldest pickle": lambda content, path: path.write_bytes(pickle.dumps(content, protocol=0)),
    "ours": own_format,
}


@pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "hide",
    [lambda call: call, lambda call: {"state_dict": {"conv1.weight": torch.zeros(2), "x": [{"y": (call,)}]}}],
    ids=["plain", "nested"],
)
@pytest.mark.parametrize("function", [os.mkdir, eval])
def test_row_40_a_malicious_pickle(tmp_path, save, hide, function):
    marker, path = tmp_path / "marker", tmp_path / "bad.pt"
    argument = str(marker) if function is os.mkdir else f"__import__('os').mkdir({str(marker)!r})"
    save(hide(Call(function, argument)), path)
    with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
        open_checkpoint(str(path))
    assert "weights_only" not in str(caught.value)
    assert "refused, because it holds code" in str(caught.value) or save is FORMATS["oldest pickle"]
    assert not marker.exists()


@pytest.mark.parametrize(
    "typed", [("stage=finetune", "ckpt=bad.pt"), ("stage=evaluate", "ckpt=bad.pt"), ("resume=bad.pt",)]
)
def test_row_40_a_malicious_pickle_on_the_command_line(ptft, tmp_path, typed):
    own_format(Call(os.mkdir, str(tmp_path / "marker")), tmp_path / "bad.pt")
    result = ptft(*typed)
    refused(result, 4, str(tmp_path / "bad.pt"), "refused, because it holds code")
    assert "weights_only" not in result.text
    assert list(contents(tmp_path)) == ["bad.pt"]
    assert not (tmp_path / "marker").exists()


def test_row_40_the_pickles_of_that_test_do_bite(tmp_path):
    (tmp_path / "bad.pt").write_bytes(pickle.dumps(Call(os.mkdir, str(tmp_path / "marker"))))
    pickle.loads((tmp_path / "bad.pt").read_bytes())
    assert (tmp_path / "marker").exists()


def foreign(weights, path, how):
    """The backbone's tensors as other tools write them."""
    plain = {name.removeprefix("backbone."): value.contiguous() for name, value in weights.items()}
    wrapped = {f"module.{name}": value for name, value in plain.items()}
    if how == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(plain, path)
        return path
    content = {
        "plain": plain,
        "module.": {**wrapped, "module.fc.weight": torch.zeros(3)},
        "compiled": {f"_orig_mod.{name}": value for name, value in plain.items()},
        "state_dict": {"state_dict": wrapped, "epoch": 3, "optimizer": {"state": {}}},
        "model": {"model": plain, "args": {"lr": 0.1}},
        "our names": {"backbone." + name: value for name, value in plain.items()},
    }[how]
    torch.save(content, path, _use_new_zipfile_serialization=how != "state_dict")
    return path


@pytest.mark.parametrize("how", ["plain", "module.", "compiled", "state_dict", "model", "our names", "safetensors"])
def test_row_41_honest_weights_from_elsewhere(ptft, tmp_path, run, how):
    path = foreign(backbone(run), tmp_path / "other.pt", how)
    small = (*SMALL, "dataset.size=28", "optimizer.lr=1e-12")
    result = ptft("stage=finetune", f"ckpt={path}", *MODEL, *small)
    assert result.code == 0, result.text
    moved = transfer(tmp_path / "tuned")
    assert moved["loaded"]["tensors"] == {name: value.numel() for name, value in backbone(run).items()}
    assert moved["ignored"]["tensors"] == ({"fc.weight": 3} if how == "module." else {})
    assert "loaded" in result.out
    for name, value in backbone(tmp_path / "tuned").items():
        assert torch.allclose(value, backbone(run)[name], atol=1e-6), name


def test_row_41_what_weights_alone_can_not_do(ptft, tmp_path, run):
    path = foreign(backbone(run), tmp_path / "other.pt", "plain")
    refused(ptft(f"resume={path}"), 4, str(path), "can't be continued", f"ckpt={path}")
    refused(ptft("stage=finetune", f"ckpt={path}"), 4, str(path), "model=NAME")
    refused(ptft("stage=evaluate", f"ckpt={path}", *MODEL), 4, str(path), "finetune")


def test_row_41_torchvisions_own_weights(ptft, tmp_path):
    torch.manual_seed(0)
    net = models.mobilenet_v3_small()
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    name = models.MobileNet_V3_Small_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(net.state_dict(), cache / name)
    size = ("dataset.size=32", "dataset.limit=8", "train.batch_size=8", "dataset.val=null", "dataset.test=null")
    run = (*size, "train.steps=1", "optimizer.lr=1e-12")
    for number, typed in enumerate(
        (
            ["ckpt=torchvision:mobilenet_v3_small", "model.dropout=0.5"],
            [f"ckpt={cache / name}", "model=mobilenet_v3_small", "model.stem=original", "dataset.channels=3"],
        )
    ):
        result = ptft("stage=finetune", *typed, *run, f"hydra.run.dir={number}")
        assert result.code == 0, result.text
        moved = transfer(tmp_path / str(number))
        assert set(moved["reinitialised"]["tensors"]) == {"head.weight", "head.bias"}
        kept = backbone(tmp_path / str(number))["backbone.net.features.0.0.weight"]
        assert torch.allclose(kept, net.features[0][0].weight, atol=1e-6)
    refused(ptft("resume=torchvision:mobilenet_v3_small"), 4, "can't be continued")


def test_row_42_another_architecture(ptft, tmp_path):
    data = ("dataset.images=16", "dataset.held_out=8", "train.batch_size=8", "train.steps=1", "dataset.size=16")
    assert ptft("stage=pretrain", "model=mobilenet_v3_small", *data, "hydra.run.dir=small").code == 0
    larger = ("model=torchvision", "model.name=mobilenet_v3_large")
    for ckpt in ("small", "small/checkpoints/last.pt"):
        result = ptft("stage=finetune", f"ckpt={ckpt}", *larger, *SMALL)
        refused(result, 4, "holds mobilenet_v3_small", "asks for mobilenet_v3_large", str(tmp_path / "small"))
    assert not (tmp_path / "tuned").exists()
    foreign(backbone(tmp_path / "small"), tmp_path / "plain.pt", "plain")
    result = ptft("stage=finetune", "ckpt=plain.pt", *larger, "dataset.size=16", "dataset.channels=1", *SMALL)
    refused(result, 4, str(tmp_path / "plain.pt"), "tensors are not in it", "model=")
    assert not (tmp_path / "tuned" / "checkpoints").exists()


def test_row_42_weights_of_something_else_are_no_start(ptft, tmp_path):
    torch.save({"encoder.weight": torch.zeros(3, 3)}, tmp_path / "text.pt")
    result = ptft("stage=finetune", "ckpt=text.pt", *MODEL, *SMALL)
    refused(result, 4, str(tmp_path / "text.pt"), "6 of the backbone's 6 tensors are not in it")
