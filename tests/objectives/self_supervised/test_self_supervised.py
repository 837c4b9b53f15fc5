"""Every objective that needs no labels, found by itself: it learns, goes on exactly, is measured without a trace."""

import pytest
import torch
from PIL import Image

from ptft.config import instantiate
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.base import Unlabelled
from ptft.train.gradient_cache import InHalves
from tests.conftest import refused, rows, summary
from tests.helpers import options
from tests.helpers.self_supervised import FEW, SMALL, built, in_two, metrics, small, state, train
from tests.stages.test_resume import same

NODES = {name: options.node(f"objective/{name}") for name in options.of("objective")}
CLASSES = {name: instantiate.find("objective", node, Objective) for name, node in NODES.items()}
WITHOUT_LABELS = [name for name, found in CLASSES.items() if issubclass(found, Unlabelled)]
NAMES = [name for name in WITHOUT_LABELS if options.modality(f"objective/{name}") == "image"]
"""Those of recordings: test_masked_audio.py and tests/stages/test_speech_runs.py."""


def test_the_ones_known_at_this_version_are_there():
    assert set(NAMES) >= {"simclr", "vicreg", "byol", "rotation", "mae", "dino", "dinov2"}


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name):
    learns = options.note(f"objective/{name}").get("learns", {})
    run = built(name, "train.steps=40", "optimizer.lr=3e-3", "train.every.evaluate=40")
    before = metrics(run)
    train(run)
    after = metrics(run)
    if "metric" in learns:
        assert (after[learns["metric"]] - before[learns["metric"]]) / learns["by"] > 1
    assert after["loss"] < before["loss"] or learns.get("loss") == "may rise"


FEWER = ("dataset.limit=64", "dataset.classes=['0','1','2']")
EVERY = (*FEWER, "train.steps=4", "train.every.evaluate=2")


def test_training_is_compiled_and_evaluation_is_not():
    """The probe's bank comes and goes. What torch's compiler hands on is counted, and runs as it is."""
    compiled = []

    def counted(graph, _):
        compiled.append(graph)
        return graph.forward

    run = built("rotation", *FEWER, "train.steps=2")
    task, batch = run.objective, next(iter(run.training.loader.epoch(0)))
    task.compile(backend=counted)
    with torch.no_grad():
        task.eval()(batch)
        assert not compiled
        task.train()(batch)
    assert compiled


@pytest.mark.parametrize(
    ("name", "options"), [*((name, ()) for name in NAMES), *((name, ("train.ema=0.9",)) for name in ("byol", "dino"))]
)
def test_a_run_that_was_ended_and_goes_on_equals_the_whole_one(name, options):
    whole = built(name, *EVERY, *options)
    expected = train(whole).rows
    found, resumed = in_two(lambda: built(name, *EVERY, *options), last=3)
    assert [row["step"] for row in expected] == [2, 4]
    assert found == expected
    assert same(state(resumed), state(whole))


@pytest.mark.parametrize("name", NAMES)
def test_evaluations_leave_the_training_as_it_is_and_repeat(name):
    measured = built(name, *FEWER, "train.steps=3", "train.every.evaluate=1")
    train(measured)
    left_alone = built(name, *FEWER, "train.steps=3", "dataset.val=null")
    train(left_alone)
    for part in ("weights", "optimizer", "rng"):
        assert same(state(measured)[part], state(left_alone)[part])
    generator = torch.get_rng_state()
    assert metrics(measured) == metrics(measured)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_compares_the_examples_of_a_batch_refuses_parts_of_it_or_knows_halves(name):
    if not CLASSES[name].whole_batch or issubclass(CLASSES[name], InHalves):
        assert built(name, *FEWER, "train.accumulate=2").training.accumulate == 2
        return
    with pytest.raises(ConfigError, match=rf"train\.accumulate=2: objective={name}"):
        built(name, *FEWER, "train.accumulate=2")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_validation_split_it_trains_as_well(name):
    run = built(name, *FEWER, "train.steps=2", "dataset.val=null")
    train(run)
    assert run.training.progress.step == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_backbone_goes_on_to_another_task_and_nothing_else_does(name, ptft, tmp_path):
    typed = (f"objective={name}", *small(name), *FEW, *FEWER, "train.steps=2")
    assert ptft("stage=pretrain", *typed, f"hydra.run.dir={tmp_path / 'run'}").code == 0
    done = ptft("stage=finetune", "ckpt=run", "dataset=digits", *FEWER, "train.steps=1")
    assert done.code == 0, done.text
    assert "of the backbone" in done.out


def test_a_checkpoint_is_measured_by_its_neighbours_and_gives_no_answers(ptft, tmp_path):
    typed = ("objective=simclr", *SMALL, *FEW, *FEWER, "train.steps=3", f"hydra.run.dir={tmp_path / 'run'}")
    assert ptft("stage=pretrain", *typed).code == 0
    assert ptft("stage=evaluate", "ckpt=run", "split=val", "hydra.run.dir=measured").code == 0
    found, trained = (summary(tmp_path / name)["metrics"]["val"] for name in ("measured", "run"))
    assert found == pytest.approx(trained)
    assert found["knn"] > 0.5
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    refused(ptft("stage=predict", "ckpt=run", "input=a.png"), 2, "objective=simclr", "finetune")


def test_collapse_is_said_once(ptft):
    """A decay that takes all weights to 0 in a step leaves the same features for all images."""
    done = ptft(
        *("stage=pretrain", "objective=simclr", "dataset=digits", "dataset.limit=64", "dataset.size=16"),
        *("model=convnet", "model.channels=[4,8]", "train.batch_size=32", "train.steps=6", "train.every.evaluate=2"),
        *("schedule=constant", "schedule.warmup=0", "optimizer.lr=1e-3", "optimizer.weight_decay=1000"),
    )
    assert done.code == 0, done.text
    assert done.out.count("the features have collapsed") == 1
    assert "step 2: the features have collapsed" in done.out


def test_features_that_are_spread_are_no_collapse():
    run = built("simclr", *FEWER, "train.steps=20", "train.every.evaluate=10")
    assert train(run).warned_of == []


@pytest.mark.parametrize("name", NAMES)
def test_other_data_than_images_are_refused_by_name(name):
    run = built(name, *FEWER, "train.steps=1")
    spec = type(run.inputs.source.spec)("text", {"length": 8}, classes=("a", "b"))
    with pytest.raises(ConfigError, match=rf"objective={name}: .*image.*text"):
        CLASSES[name](run.objective.backbone, spec)


def test_images_without_classes_are_learned_from_and_measured_by_the_loss(ptft, tmp_path):
    for i in range(40):
        pixels = torch.randint(256, (18, 18, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.fromarray(pixels.numpy()).save(tmp_path / "flat" / f"{i:02}.png")
    data = ("stage=pretrain", "dataset=image_folder", "dataset.root=flat")
    small = ("model=convnet", "model.channels=[4,8]", "train.steps=4", "train.batch_size=8", "hydra.run.dir=run")
    done = ptft(*data, *small, "objective=simclr")
    assert done.code == 0, done.text
    assert "no labels" in done.out
    assert summary(tmp_path / "run")["metrics"]["val"].keys() == {"loss", "feature_std"}
    assert {row["split"] for row in rows(tmp_path / "run")} == {"train", "val", "test"}
    refused(ptft(*data, *small[:-1]), 3, "holds images, but no folder for each class")
