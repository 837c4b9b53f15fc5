"""Masked autoencoding: what is hidden, what the encoder sees, and what the loss counts."""

import numpy as np
import pytest
import torch

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.self_supervised.mae import MAE, chosen
from tests.conftest import refused
from tests.helpers.self_supervised import built, metrics, train


def mae(size=(16, 16), channels=1, pool="mean", patch=4, **options):
    torch.manual_seed(0)
    spec = Spec("image", {"size": list(size), "channels": channels, "fit": "none"})
    backbone = VisionTransformer(spec, patch=patch, width=16, depth=2, heads=2, pool=pool)
    small = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
    return MAE(backbone, spec, **{**small, **options})


def images(objective, count=5):
    size = objective.backbone.size
    return torch.randn(count, objective.backbone.channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 12), (0.5, 8), (0.4, 6), (0.99, 15), (0.01, 1)])
def test_every_image_hides_the_same_exact_share(ratio, hidden):
    objective = mae(mask_ratio=ratio)
    shown, masked = objective.masks(images(objective, 50))
    assert masked.shape == (50, hidden)
    assert torch.equal(torch.cat([shown, masked], dim=1).sort(dim=1).values, torch.arange(16).expand(50, 16))
    assert len({tuple(sorted(row)) for row in masked.tolist()}) > min(hidden, 16 - hidden), "each image its own"


def test_every_patch_is_hidden_equally_often():
    objective = mae(mask_ratio=0.75)
    _, masked = objective.masks(images(objective, 4000))
    shares = torch.bincount(masked.flatten(), minlength=16) / 4000
    torch.testing.assert_close(shares, torch.full((16,), 0.75), atol=0.04, rtol=0)


def changed_where_hidden(x, hidden, patch):
    """The same images with other pixels in the hidden patches."""
    other, across = x.clone(), x.shape[3] // patch
    for image, places in enumerate(hidden.tolist()):
        for place in places:
            row, column = patch * (place // across), patch * (place % across)
            other[image, :, row : row + patch, column : column + patch] += 100.0
    return other


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_hidden_pixels_never_reach_the_encoder(pool):
    objective = mae((8, 24), channels=3, pool=pool).eval()
    encoded, handed = [], []
    objective.backbone.blocks[0].register_forward_pre_hook(lambda module, given: handed.append(given[0].shape[1]))
    objective.backbone.norm.register_forward_hook(lambda module, given, out: encoded.append(out))
    x = images(objective)
    for seed in (0, 0):
        torch.manual_seed(seed)
        objective.learn(x)
        torch.manual_seed(seed)
        x = changed_where_hidden(x, objective.masks(x)[1], 4)
    assert torch.equal(encoded[0], encoded[1])
    assert handed == [objective.backbone.prefix + 3] * 2, "only the shown quarter is computed"
    torch.manual_seed(0)
    shown, _ = objective.masks(x)
    tokens = objective.backbone.embed(images(objective))
    torch.testing.assert_close(encoded[0], objective.backbone.encode(chosen(tokens, shown)).tokens)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_that_of_a_loop_over_hidden_patches(normalize):
    objective = mae((8, 12), channels=2, normalize=normalize).double().eval()
    x = images(objective).double()
    torch.manual_seed(3)
    step = objective.learn(x)
    torch.manual_seed(3)
    shown, hidden = objective.masks(x)
    features = objective.backbone.encode(chosen(objective.backbone.embed(x), shown)).tokens
    predicted, total = objective.decoder(features, shown, hidden).detach().numpy(), 0.0
    for image in range(len(x)):
        for i, place in enumerate(hidden[image].tolist()):
            row, column = 4 * (place // 3), 4 * (place % 3)
            target = x[image, :, row : row + 4, column : column + 4].numpy().reshape(-1)
            if normalize:
                target = (target - target.mean()) / np.sqrt(target.var() + 1e-6)
            total += ((predicted[image, i] - target) ** 2).mean()
    np.testing.assert_allclose(float(step.total.detach()), total, rtol=1e-5)
    assert int(step.count) == hidden.numel() == 5 * 4  # round(0.75 * 6), to the even number


def test_a_blank_image_costs_no_more_than_what_is_predicted():
    objective = mae()
    step = objective.learn(torch.full((2, 1, 16, 16), 0.37))
    assert torch.isfinite(step.total)
    targets = objective.targets(torch.full((2, 1, 16, 16), 0.37), torch.arange(16).expand(2, 16))
    assert float(targets.abs().max()) < 1e-3


def test_the_decoder_tells_hidden_places_apart():
    objective = mae().eval()
    x = images(objective, 1)
    shown, hidden = objective.masks(x)
    features = objective.backbone.encode(chosen(objective.backbone.embed(x), shown)).tokens
    predicted = objective.decoder(features, shown, hidden)[0]
    assert torch.pdist(predicted).min() > 1e-4
    order = torch.randperm(hidden.shape[1])
    torch.testing.assert_close(objective.decoder(features, shown, hidden[:, order])[0], predicted[order])


def test_a_backbone_without_patches_is_refused_by_name(ptft):
    spec = Spec("image", {"size": [16, 16], "channels": 1, "fit": "none"})
    with pytest.raises(ConfigError, match=r"objective=mae: model CNN .*model=vit_tiny"):
        MAE(CNN(spec), spec)
    refused(ptft("stage=pretrain", "model=cnn", "objective=mae", "dataset=digits"), 2, "CNN", "model=vit_small")


def test_it_learns_more_than_the_mean_of_every_place():
    usual = ("objective.decoder_width=128", "objective.decoder_depth=2")
    short = ("train.steps=150", "optimizer.lr=3e-3", "train.batch_size=16", "train.every.evaluate=150")
    run = built("mae", *usual, *short)
    train(run)
    objective = run.objective.train()
    x = objective.views(torch.cat([objective.backbone.prepare(batch["input"]) for batch in run.training.val.epoch()]))
    targets = objective.targets(x, torch.arange(16).expand(len(x), 16))
    best_constant = float((targets - targets.mean(0)).square().mean())
    assert metrics(run)["loss"] < 0.95 * best_constant


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_ratio": 1.0}, r"objective\.mask_ratio=1\.0"),
        ({"patch": 16}, r"16, 16.* 1 of model\.patch=16"),
        ({"decoder_width": 10}, r"objective\.decoder_width=10"),
        ({"decoder_heads": 3}, r"objective\.decoder_heads=3"),
    ],
)
def test_what_can_not_work_is_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=said):
        mae(**options)
