"""Distillation of features: what the teacher sees and says, that it stays as it is, and what students gain."""

import pytest
import timm
import torch
from torch.nn import functional as F

from ptft.core import Spec
from ptft.errors import CheckpointError, ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.convnet import Convnet
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.self_supervised.feature_distill import _pairs
from ptft.objectives.self_supervised.seen import Images, Seen
from tests.conftest import command, refused, rows
from tests.helpers.processes import run as alone
from tests.helpers.processes import together
from tests.helpers.self_supervised import DIGITS, FEW, built, in_two, metrics, state, train
from tests.stages.test_resume import same

OPTIONS = ("model=convnet", "model.channels=[8,16,32]")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The folder of a teacher, which the first test that needs it trains."""
    return tmp_path_factory.mktemp("teacher") / "run"


@pytest.fixture
def teacher(taught, ptft):
    if not taught.exists():
        typed = ("train.steps=60", "train.every.evaluate=60", "optimizer.lr=5e-3", "train.batch_size=32")
        settled = ("precision=fp32", "train.layout=contiguous", "device=cpu", f"hydra.run.dir={taught}")
        done = ptft("stage=pretrain", "dataset=digits", "dataset.size=16", *OPTIONS, *typed, *settled)
        assert done.code == 0, done.text
    return taught


def student(teacher, *typed):
    return built("feature_distill", f"objective.teacher={teacher}", "model.channels=[4,8]", *typed)


def test_a_student_learns_what_tells_the_teachers_images_apart(teacher):
    run = student(teacher, "model.channels=[8,16,32]", "train.steps=60", "optimizer.lr=1e-2", "dataset.limit=null")
    before = metrics(run)
    train(run)
    after = metrics(run)
    assert before["explained"] < 0.05
    assert after["explained"] > 0.5
    assert after["loss"] == pytest.approx(2 * (1 - after["explained"]), rel=1e-4)


def test_who_says_the_same_of_every_image_explains_nothing(teacher):
    """Of what the teacher says most is the same for all images, which a bias would learn."""
    run = student(teacher, "dataset.classes=['0']", "dataset.limit=100", "train.batch_size=100", "objective.views=null")
    objective, batch = run.objective, next(run.training.loader.epoch())
    x = objective.backbone.inputs(batch)
    plain = F.layer_norm(objective.teacher[0].pool(objective.teacher[0](objective.images(x))), [32])
    assert plain.mean(0).square().mean() > 0.3
    pooled, maps = objective.theirs(objective.teacher[0], objective.images(x))
    said = [pooled, *(each.flatten(2).transpose(1, 2) for each in maps)]
    for projector, wanted, target in zip(objective.projectors, objective.wanted, said, strict=True):
        torch.nn.init.zeros_(projector[0].weight)
        projector[0].bias.data = wanted(target).flatten(0, -2).mean(0)
    assert objective.metrics(objective.learn(x).sums)["explained"] == pytest.approx(0, abs=0.05)


def test_the_loss_is_that_of_a_loop_over_maps_and_cells(teacher):
    run = student(teacher, "objective.pooled=3", "objective.patches=2", "objective.views=null", "dataset.size=32")
    objective, batch = run.objective.eval(), next(run.training.loader.epoch())
    net, images = objective.teacher[0], run.inputs.splits["train"]
    chosen = torch.linspace(0, len(images) - 1, 128, dtype=torch.float64).round().long()
    looked_at = objective.images(objective.backbone.inputs(images.take(chosen)))
    own = objective.backbone.maps(objective.backbone.inputs(batch))
    theirs = net.maps(objective.images(objective.backbone.inputs(batch)))
    sides = [each.shape[2] for each in own], [each.shape[2] for each in theirs]
    assert sides == ([32, 16], [16, 8, 4])

    def error(projector, features, target, all_targets):
        """Of one place, features and target [B, D]; all_targets: of every place of the images that were looked at."""
        known = F.layer_norm(all_targets, all_targets.shape[1:])
        spread = (known - known.mean(0)).square().mean().sqrt()
        wanted = (F.layer_norm(target, target.shape[1:]) - known.mean(0)) / spread
        return (projector(features) - wanted).square().mean(1).sum()

    project, *project_maps = objective.projectors
    pooled = objective.backbone.pool(objective.backbone(objective.backbone.inputs(batch)))
    seen = net.pool(net(objective.images(objective.backbone.inputs(batch))))
    expected = 3 * error(project, pooled, seen, net.pool(net(looked_at)))
    for projector, target, every in zip(project_maps, theirs, net.maps(looked_at), strict=True):
        side = target.shape[2]
        cell = 16 // side  # the student's second map is asked for all of them
        for row in range(side):
            for column in range(side):
                part = own[1][:, :, cell * row : cell * (row + 1), cell * column : cell * (column + 1)].mean((2, 3))
                places = every.permute(0, 2, 3, 1).flatten(0, 2)
                expected += 2 / 3 * error(projector, part, target[:, :, row, column], places) / side**2
    torch.testing.assert_close(objective.learn(objective.backbone.inputs(batch)).total, expected)


@pytest.mark.parametrize(
    ("own", "theirs", "pairs"),
    [
        ([(8, 32, 32), (16, 16, 16), (32, 8, 8)], [(4, 16, 16), (8, 8, 8), (16, 4, 4)], [(1, 0), (2, 1), (2, 2)]),
        ([(8, 24, 32)], [(4, 28, 28), (8, 14, 14)], [(0, 0), (0, 1)]),
        ([(8, 18, 24), (8, 9, 12)], [(4, 28, 28), (8, 14, 14)], [(0, 1)]),
        ([(8, 4, 4)], [(4, 28, 28), (8, 14, 14)], [(0, 1)]),
        ([], [], []),
    ],
)
def test_a_map_is_asked_of_the_coarsest_that_has_nearly_as_many_cells(own, theirs, pairs):
    assert _pairs(own, theirs) == pairs


def test_the_teacher_stays_outside_and_as_it_is(teacher):
    run = student(teacher, "dataset.limit=64", "train.steps=3", "train.ema=0.9")
    before = {name: value.clone() for name, value in run.objective.teacher[0].state_dict().items()}
    train(run)
    kept = {name.split(".")[0] for part in (run.training.weights(), run.training.ema.weights) for name in part}
    assert kept == {"backbone", "projectors", "wanted"}
    assert same(dict(run.objective.teacher[0].state_dict()), before)
    assert not run.objective.teacher[0].training
    assert len(run.cfg.objective["teacher_sha256"]) == 64


def test_a_run_that_goes_on_reads_the_same_teacher_and_no_other(teacher):
    typed = ("dataset.limit=64", "dataset.classes=['0','1','2']", "train.steps=4", "train.every.evaluate=2")
    whole = student(teacher, *typed)
    expected = train(whole).rows
    found, resumed = in_two(lambda: student(teacher, *typed), last=3)
    assert found == expected
    assert same(state(resumed), state(whole))
    student(teacher, *typed, f"objective.teacher_sha256={whole.cfg.objective['teacher_sha256']}")
    with pytest.raises(CheckpointError, match=r"objective\.teacher=.*not the file that the run began with"):
        student(teacher, *typed, f"objective.teacher_sha256={'0' * 64}")


def test_plain_weights_of_a_library_see_what_they_were_made_for(tmp_path):
    """Grey images of 16 pixels, by timm's own network in its size, channels and normalisation."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", pretrained=False).eval()
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ConfigError, match=r"objective\.teacher_model=null: plain weights"):
        student(tmp_path / "plain.pt")
    run = student(tmp_path / "plain.pt", "objective.teacher_model=timm:test_vit")
    objective, batch = run.objective, next(run.training.loader.epoch())
    pooled, (grid,) = objective.theirs(objective.teacher[0], objective.images(objective.backbone.inputs(batch)))
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    images = batch["input"].expand(-1, 3, -1, -1) / 255
    images = F.interpolate(images, config["input_size"][1:], mode="bilinear")
    with torch.no_grad():
        tokens = network.forward_features((images - mean) / std)
        expected = network.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(pooled, expected, rtol=1e-3, atol=1e-4)
    patches = tokens[:, 1:].transpose(1, 2).reshape(grid.shape)
    torch.testing.assert_close(grid, patches, rtol=1e-3, atol=1e-4)


def spec(channels=1, size=16, **options):
    return Spec("image", {"size": [size, size], "channels": channels, "fit": "none"}, **options)


@pytest.mark.parametrize(
    ("made", "maps", "prefix", "passes"),
    [
        (lambda s: VisionTransformer(s, patch=4, width=8, depth=1, heads=2, pool="cls"), ((8, 4, 4),), 1, 1),
        (lambda s: Convnet(s, channels=(4, 8)), ((4, 16, 16), (8, 8, 8)), 0, 1),
        (lambda s: CNN(s, channels=(2, 4), width=8), ((4, 8, 8),), None, 2),
    ],
)
def test_pooled_features_and_maps_come_of_one_pass_where_tokens_are_cells(made, maps, prefix, passes):
    backbone, x, calls = made(spec()).eval(), torch.randn(3, 1, 16, 16), []
    seen = Seen.of(backbone, spec())
    assert (seen.maps, seen.prefix) == (maps, prefix)
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda *called: calls.append(called))
    pooled, found = seen(backbone, x)
    assert len(calls) == passes
    torch.testing.assert_close(pooled, backbone.pool(backbone(x)))
    for one, other in zip(found, backbone.maps(x), strict=True):
        torch.testing.assert_close(one, other)
    assert Seen()(backbone, x)[1] == []


def test_images_come_in_the_other_models_channels_and_normalisation():
    raw = torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    given, wanted = spec(3, 8, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), spec(1, 8, mean=(0.7,), std=(0.2,))
    x = (raw / 255 - torch.tensor(given.mean).view(3, 1, 1)) / torch.tensor(given.std).view(3, 1, 1)
    grey = (raw * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True) / 255
    torch.testing.assert_close(Images(given, wanted)(x), (grey - 0.7) / 0.2, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"takes 4 channels.*dataset\.channels"):
        Images(given, spec(4, 8))


def test_two_processes_equal_one(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ("stage=pretrain", "objective=feature_distill", f"objective.teacher={teacher}", *DIGITS, *FEW, *OPTIONS)
    typed += ("dataset.limit=65", "train.steps=3", "objective.views={crop: 0.5}", "optimizer=sgd")
    assert alone(command(*typed, "train.sync_batchnorm=true", "hydra.run.dir=one")).returncode == 0
    ended = together(command(*typed, "train.sync_batchnorm=true", "hydra.run.dir=two"))
    assert [each.returncode for each in ended] == [0, 0], ended
    for one, other in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_what_can_not_be_is_refused_by_its_key(teacher, ptft):
    asked = ("stage=pretrain", "objective=feature_distill", "dataset=digits", "dataset.size=16", *OPTIONS, *FEW)
    refused(ptft(*asked), 2, "objective.teacher")
    refused(ptft(*asked, "objective.teacher=nowhere"), 4, "objective.teacher=", "nowhere")
    asked += (f"objective.teacher={teacher}",)
    refused(ptft(*asked, "objective.teacher_model=timm:resnet18"), 2, "objective.teacher_model=", "set it to null")
    refused(ptft(*asked, "objective.pooled=0", "objective.patches=0"), 2, "objective.pooled=0", "objective.patches=0")
    assert ptft(*asked, "train.steps=1", "hydra.run.dir=run").code == 0
    refused(ptft("stage=evaluate", "ckpt=run"), 2, "objective=feature_distill", "stage=finetune")
