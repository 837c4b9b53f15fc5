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


def test_features_are_better_than_random_ones_by_what_these_never_are(teacher):
    run = student(teacher, "train.steps=60", "train.every.evaluate=60", "optimizer.lr=1e-2", "dataset.limit=null")
    before = metrics(run)
    train(run)
    after = metrics(run)
    assert after["knn"] > before["knn"] + 0.1
    assert after["loss"] < 0.85 * before["loss"]


def test_the_loss_is_that_of_a_loop_over_cells(teacher):
    run = student(teacher, "objective.pooled=3", "objective.patches=2", "dataset.size=32")
    objective, batch = run.objective.eval(), next(run.training.loader.epoch())
    x = objective.backbone.inputs(batch)
    objective.views = torch.nn.Identity()
    net, features = objective.teacher[0], objective.backbone(x)
    seen = net(objective.images(x))
    target = F.layer_norm(net.pool(seen), [net.width])
    expected = 3 * (objective.projector(objective.backbone.pool(features)) - target).square().mean(1).sum()
    own, theirs = objective.backbone.maps(x)[-1], net.maps(objective.images(x))[-1]
    assert (tuple(own.shape[2:]), tuple(theirs.shape[2:])) == ((16, 16), (4, 4))
    for row in range(4):
        for column in range(4):
            cell = own[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean((2, 3))
            wanted = F.layer_norm(theirs[:, :, row, column], [theirs.shape[1]])
            expected += 2 * (objective.patch_projector(cell) - wanted).square().mean(1).sum() / 16
    torch.testing.assert_close(objective.learn(x).total, expected)


def test_the_teacher_stays_outside_and_as_it_is(teacher):
    run = student(teacher, "dataset.limit=64", "train.steps=3", "train.ema=0.9")
    before = {name: value.clone() for name, value in run.objective.teacher[0].state_dict().items()}
    train(run)
    kept = {name.split(".")[0] for part in (run.training.weights(), run.training.ema.weights) for name in part}
    assert kept == {"backbone", "projector", "patch_projector"}
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
    pooled, grid = objective.targets(objective.backbone.inputs(batch))
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
    ("made", "grid", "prefix"),
    [
        (lambda s: VisionTransformer(s, patch=4, width=8, depth=1, heads=2, pool="cls"), (4, 4), 1),
        (lambda s: Convnet(s, channels=(4, 8)), (8, 8), 0),
        (lambda s: CNN(s, channels=(2, 4), width=8), (8, 8), None),
    ],
)
def test_a_grid_is_read_from_tokens_or_maps(made, grid, prefix):
    backbone, x = made(spec()).eval(), torch.randn(3, 1, 16, 16)
    seen = Seen.of(backbone, spec(), grid=True)
    assert (seen.grid, seen.prefix) == (grid, prefix)
    pooled, cells = seen(backbone, x)
    torch.testing.assert_close(pooled, backbone.pool(backbone(x)))
    torch.testing.assert_close(cells, backbone.maps(x)[-1])


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
