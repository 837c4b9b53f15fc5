"""`ptft stage=pretrain`, then `ptft stage=finetune ckpt=…`: what a user and their scripts rely on."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import NET, summary

TOP = {
    "stage",
    "status",
    "model",
    "dataset",
    "objective",
    "input",
    "seed",
    "device",
    "precision",
    "layout",
    "steps",
    "epochs",
    "samples",
    "seconds",
    "data_seconds",
    "samples_per_second",
    "peak_memory_bytes",
    "parameters",
    "trainable_parameters",
    "flops",
    "metrics",
    "best",
    "checkpoints",
    "parent",
    "refers",
    "refers_sha256",
    "transfer",
    "data",
    "command",
    "cwd",
    "git_commit",
    "intervals",
    "resampling",
    "unreadable",
    "versions",
}
SMALLER = ["model.channels=[8,16]", "model.width=64"]
DIGITS = ["dataset.limit=64", "train.steps=6", "train.every.evaluate=3", "train.every.log=3"]


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def finetune(ptft, pretrained, *more):
    return ptft("stage=finetune", f"ckpt={pretrained}", *DIGITS, "hydra.run.dir=run", *more)


def test_a_run_leaves_what_the_interface_promises(pretrained):
    summary, status = read(pretrained, "summary.json"), read(pretrained, "status.json")
    assert summary.keys() == TOP
    assert status["status"] == "finished"
    assert {"pid", "host"} <= status.keys()
    assert summary["steps"] == 20
    assert summary["samples"] == 20 * 64 - 4 * 20  # 300 images: four batches of 64 and one of 44, four times
    assert summary["parent"] is None
    assert summary["transfer"] is None
    assert summary["flops"] > 3 * summary["parameters"] * summary["samples"]
    assert summary["metrics"].keys() == {"train", "val", "test"}
    assert (pretrained / ".hydra" / "overrides.yaml").exists()
    config = yaml.safe_load((pretrained / ".hydra" / "config.yaml").read_text())
    assert config["dataset"]["seed"] == 0, "resolved, no interpolation left"
    assert "pretrain done" in (pretrained / "run.log").read_text()


def test_metrics_are_one_object_a_line(pretrained):
    found = rows(pretrained)
    assert {row["split"] for row in found} == {"train", "val", "test"}
    for row in found:
        assert {"step", "epoch", "split", "loss", "accuracy", "seconds"} <= row.keys()
    assert all("lr" in row for row in found if row["split"] == "train")
    assert [row["step"] for row in found if row["split"] == "val"] == [10, 20]


def test_the_checkpoint_loads_with_plain_torch(pretrained):
    content = torch.load(pretrained / "checkpoints" / "best.pt", weights_only=True)
    assert {"config", "spec", "weights"} <= content.keys()
    assert content["spec"]["classes"] == list("0123456789")


def test_a_finetune_takes_the_backbone_and_says_so(ptft, pretrained, tmp_path):
    done = finetune(ptft, pretrained)
    assert done.code == 0, done.text
    summary = read(tmp_path / "run", "summary.json")
    assert summary["model"] == "cnn"
    assert summary["parent"]["path"] == str(pretrained / "checkpoints" / "best.pt")
    assert summary["parent"]["run"] == str(pretrained)
    transfer = read(tmp_path / "run", "transfer.json")
    assert summary["transfer"]["reinitialised"] == {**transfer["reinitialised"], "tensors": 2}
    assert set(transfer["reinitialised"]["tensors"]) == {"head.weight", "head.bias"}
    assert sum(transfer[kind]["parameters"] for kind in ("loaded", "reinitialised")) == summary["parameters"]
    assert f"{transfer['loaded']['parameters']:,} values" in done.out
    assert "ptft stage=predict ckpt=run/checkpoints/best.pt" in done.out.splitlines()[-1]


def test_the_inputs_follow_the_checkpoint_unless_typed(ptft, pretrained, tmp_path):
    small = [
        "stage=pretrain",
        "dataset.images=30",
        "dataset.held_out=20",
        "train.steps=2",
        "dataset.size=20",
        "model.channels=[4,8]",
        "model.width=16",
    ]
    assert ptft(*small, "hydra.run.dir=small").code == 0
    done = ptft("stage=finetune", "ckpt=small", *DIGITS, "hydra.run.dir=run")
    assert "images are resized to 20×20, as the weights expect; dataset.size=… changes it" in done.out
    spec = torch.load("run/checkpoints/best.pt", weights_only=True)["spec"]
    assert spec["shape"]["size"] == [20, 20]
    wrong = ptft("stage=finetune", "ckpt=small", *DIGITS, "dataset.size=24", "hydra.run.dir=other")
    assert wrong.code == 4
    assert "backbone.dense.weight" in wrong.err
    assert "Traceback" not in wrong.err


def test_another_model_than_the_checkpoints_is_one_clear_line(ptft, pretrained, tmp_path):
    done = ptft("stage=finetune", f"ckpt={pretrained}", "model=vit_tiny")
    assert done.code == 4
    assert "the checkpoint holds cnn, model= asks for vit_tiny" in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_latest_is_the_newest_finished_pretraining_and_is_stored_resolved(ptft, pretrained, tmp_path):
    shutil.copytree(pretrained, tmp_path / "outputs" / "2026-01-01" / "00-00-00-pretrain")
    done = ptft("stage=finetune", "ckpt=latest", *DIGITS, "hydra.run.dir=run")
    assert "ckpt=latest is outputs/2026-01-01/00-00-00-pretrain" in done.out
    stored = yaml.safe_load(Path("run/.hydra/config.yaml").read_text())["ckpt"]
    assert stored == str(tmp_path / "outputs" / "2026-01-01" / "00-00-00-pretrain" / "checkpoints" / "best.pt")


def test_a_linear_probe_trains_the_head_alone(ptft, pretrained, tmp_path):
    done = finetune(ptft, pretrained, "finetune.train=head")
    assert "170 of them trained" in done.out
    before = torch.load(pretrained / "checkpoints" / "best.pt", weights_only=True)["weights"]
    after = torch.load("run/checkpoints/last.pt", weights_only=True)["weights"]
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone."))
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_the_kept_head_starts_where_it_ended(ptft, pretrained):
    done = finetune(ptft, pretrained, "finetune.head=keep", "optimizer.lr=1e-12", "optimizer.weight_decay=0")
    assert done.code == 0, done.text
    before = torch.load(pretrained / "checkpoints" / "best.pt", weights_only=True)["weights"]
    after = torch.load("run/checkpoints/last.pt", weights_only=True)["weights"]
    torch.testing.assert_close(before["head.weight"], after["head.weight"])
    other = ptft("stage=finetune", f"ckpt={pretrained}", *DIGITS, "finetune.head=keep", "dataset.classes=['1','2','3']")
    assert other.code == 3
    assert "finetune.head=new" in other.err


def test_a_pretraining_can_start_from_a_checkpoint_too(ptft, pretrained):
    done = ptft("stage=pretrain", f"ckpt={pretrained}", "dataset.images=30", "dataset.held_out=20", "train.steps=2",
                "hydra.run.dir=more")  # fmt: skip
    assert done.code == 0, done.text
    assert read(Path("more"), "summary.json")["transfer"]["loaded"]["parameters"] > 0


def test_without_a_val_split_best_is_last(ptft):
    done = ptft("stage=pretrain", "dataset=digits", "dataset.val=null", *DIGITS, *NET, "hydra.run.dir=run")
    assert done.code == 0, done.text
    best, last = Path("run/checkpoints/best.pt").read_bytes(), Path("run/checkpoints/last.pt").read_bytes()
    assert best == last
    summary = read(Path("run"), "summary.json")
    assert set(summary["metrics"]) == {"train", "test"}
    assert (summary["best"]["value"], summary["best"]["step"]) == (None, summary["steps"])
    assert "best at step" not in done.out


def test_of_equal_accuracies_the_one_with_less_loss_is_the_best(ptft, tmp_path):
    for i in range(30):
        folder = tmp_path / "data" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 200 * (i % 2) + i).save(folder / f"{i}.png")
    model = ("model=cnn", "model.channels=[4,4]", "model.width=8", "dataset=image_folder", "dataset.root=data")
    budget = ("train.steps=12", "train.every.evaluate=1", "train.batch_size=8", "optimizer.lr=0.01", "dataset.val=0.4")
    done = ptft("stage=pretrain", "objective=classify", *model, *budget, "dataset.test=null", "hydra.run.dir=run")
    assert done.code == 0, done.text
    measured = [row for row in rows(tmp_path / "run") if row["split"] == "val"]
    highest = max(row["accuracy"] for row in measured)
    equal = [row for row in measured if row["accuracy"] == highest]
    assert len(equal) > 1
    best = min(equal, key=lambda row: row["loss"])
    assert summary(tmp_path / "run")["best"]["step"] == best["step"] > equal[0]["step"]


def test_the_survey_experiment_finetunes_on_the_test_splits_images(ptft, tmp_path):
    from ptft.data.image.torchvision import sample

    sample(tmp_path / "data")
    first = ptft("stage=pretrain", "experiment=mnist_survey", "train.epochs=1", "hydra.run.dir=first")
    assert first.code == 0, first.text
    config = yaml.safe_load(Path("first/.hydra/config.yaml").read_text())
    assert (config["optimizer"]["_target_"], config["train"]["batch_size"]) == ("torch.optim.Adam", 64)
    assert (
        yaml.safe_load((Path(__file__).parents[2] / "conf/experiment/mnist_survey.yaml").read_text())["train"]["epochs"]
        == 10
    )
    second = ptft(
        "stage=finetune", "ckpt=first", "experiment=mnist_survey_finetune", "train.epochs=1", "hydra.run.dir=second"
    )
    assert second.code == 0, second.text
    assert set(read(Path("second"), "summary.json")["metrics"]) == {"train"}, (
        "nothing is measured on what was trained on"
    )


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The folder of the run that the options below change something of."""
    return tmp_path_factory.mktemp("without") / "run"


OPTIONS = [
    "optimizer=muon",
    "optimizer=sgd",
    "train.ema=0.9",
    "train.accumulate=4",
    "train.clip=0.01",
    "objective.mixup=0.2",
    "schedule=wsd",
]


@pytest.mark.parametrize("option", ["train.every.save=2", *OPTIONS])
def test_an_option_of_training_changes_what_is_trained(ptft, without, option):
    """To the bit, on a CPU; the first one changes nothing, so that what the others change is theirs."""
    command = ("stage=pretrain", "dataset=digits", *DIGITS, *NET, "device=cpu", "precision=fp32")
    if not without.exists():
        assert ptft(*command, f"hydra.run.dir={without}").code == 0
    done = ptft(*command, option, "hydra.run.dir=run")
    assert done.code == 0, done.text
    files = [folder / "checkpoints" / "last.pt" for folder in (without, Path("run"))]
    one, other = (torch.load(file, weights_only=True)["weights"] for file in files)
    assert all(torch.equal(one[name], other[name]) for name in one) == (option not in OPTIONS)


@pytest.mark.slow
def test_training_learns_and_pretraining_on_glyphs_transfers(ptft):
    """A linear probe on glyph features beats one on random features by far, on real digits."""
    images = ["dataset.images=1000", "dataset.held_out=150", "train.epochs=4", "train.batch_size=32"]
    once = ["optimizer.lr=1e-2", "train.every.evaluate=125", "precision=fp32", "train.layout=contiguous"]
    assert ptft("stage=pretrain", *images, *once, *SMALLER, "hydra.run.dir=pre").code == 0
    assert read(Path("pre"), "summary.json")["metrics"]["test"]["accuracy"] > 0.7
    probe = ["stage=finetune", "finetune.train=head", "dataset.per_class=10", "train.steps=20", "optimizer.lr=5e-3"]
    probe.append("dataset.val=null")
    assert ptft(*probe, "ckpt=pre", "hydra.run.dir=glyphs").code == 0
    assert ptft(*probe, "ckpt=null", *SMALLER, "hydra.run.dir=random").code == 0
    gain = [read(Path(name), "summary.json")["metrics"]["test"]["accuracy"] for name in ("glyphs", "random")]
    assert gain[0] > gain[1] + 0.03


def test_a_sweep_ends_in_its_table(ptft, tmp_path):
    done = ptft(
        "-m",
        "stage=pretrain",
        "dataset=digits",
        *DIGITS,
        *NET,
        "optimizer.lr=3e-2,1e-9",
        "seed=0,1",
        "hydra.sweep.dir=sweep",
    )
    assert done.code == 0, done.text
    table = done.out.split("4 jobs, best first")[1]
    order = [line.split()[:3] for line in table.splitlines()[2:6]]
    assert [rate for _, rate, _ in order][:2] == ["0.03", "0.03"]
    assert "mean ± standard deviation over seeds" in table
    with open("sweep/results.csv", newline="") as file:
        results = list(csv.DictReader(file))
    assert [row["number"] for row in results] == ["0", "1", "2", "3"]
    assert all(row["status"] == "finished" and float(row["test/accuracy"]) > 0 for row in results)
    assert len(json.loads(Path("sweep/results.json").read_text())) == 4


def test_a_sweep_checks_all_its_jobs_before_the_first_starts(ptft, tmp_path):
    done = ptft("-m", "stage=pretrain", "dataset=digits", *DIGITS, "optimizer.lr=1e-3,-1", "hydra.sweep.dir=sweep")
    assert done.code == 2
    assert "optimizer.lr=-1" in done.err
    assert not (tmp_path / "sweep").exists()


def test_public_weights_bring_their_size_channels_and_stem(ptft, tmp_path):
    """From torchvision's cache, offline: a grey 8×8 dataset becomes what the weights were trained on."""
    import torchvision

    name = torchvision.models.get_model_weights("resnet18").DEFAULT.url.rsplit("/", 1)[1]
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.manual_seed(0)
    published = torchvision.models.resnet18().state_dict()
    torch.save(published, cache / name)
    start = ["stage=finetune", "ckpt=torchvision:resnet18", "dataset.limit=8", "train.steps=1", "train.batch_size=4"]
    tiny = ["dataset.classes=['0','1']", "dataset.val=null", "dataset.test=null", "finetune.train=head"]
    done = ptft(*start, *tiny, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "images are resized to 224×224" in done.out
    assert "grey images become three channels" in done.out
    after = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert after["spec"]["mean"] == [0.485, 0.456, 0.406]
    for key, value in published.items():
        if not key.startswith("fc."):
            assert torch.equal(after["weights"][f"backbone.net.{key}"], value), key
    unknown = ptft("stage=finetune", "ckpt=torchvision:resnet81")
    assert unknown.code == 2
    assert "resnet18" in unknown.err


def test_the_plan_says_whose_mean_and_std_are_used_and_where_most_weights_stand(ptft, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (80, 80), (20 * i, 9, 99)).save(tmp_path / "photos" / name / f"{i}.png")
    own = ("stage=pretrain", "dataset=image_folder", "dataset.root=photos", "train.batch_size=4", "dry_run=true")
    large = ptft(*own, "dataset.size=128", "model.channels=[2,64]", "model.width=96")
    assert "(ImageNet's)" in large.out, large.text
    assert "24 of the 24 million weights stand in one layer, dense, of flattened images of 128×128×3" in large.out
    small = ptft(*own, "dataset.size=64", "dataset.channels=1", "model.width=8")
    assert "mean 0.5, std 0.5 (the usual ones)" in small.out, small.text
    assert "stand in one layer" not in small.out
