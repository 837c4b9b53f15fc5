"""What ptft has to know of each family of torchvision's classification networks."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Where a family's networks have their parts, in torchvision's own names.

    first: the first convolution. trunk: what runs before the pooling, in order. head: what runs after it.
    kernel, stride: of the first convolution under stem=small; early_pool: what that stem leaves out.
    least: the smallest side in pixels that does not vanish on the way, under the small and the original stem.
    drop_path, dropout: torchvision's names of these options, where the family has them.
    relu: whether a ReLU stands between trunk and pooling. spatial: whether the head takes [B, D, 1, 1].
    """

    first: str
    trunk: tuple[str, ...]
    head: str
    kernel: int = 3
    stride: int = 1
    early_pool: str = ""
    least: tuple[int, int] = (1, 1)
    drop_path: str = ""
    dropout: str = ""
    relu: bool = False
    spatial: bool = False


RESNET_TRUNK = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
DEPTH = "stochastic_depth_prob"
MOBILE = Family("features.0.0", ("features",), "classifier")
FAMILIES: dict[str, Family] = {
    r"(wide_)?res(net|next)\d": Family("conv1", RESNET_TRUNK, "fc", early_pool="maxpool"),
    r"convnext_": MOBILE._replace(kernel=2, stride=2, least=(16, 32), drop_path=DEPTH, spatial=True),
    r"efficientnet_": MOBILE._replace(drop_path=DEPTH, dropout="dropout"),
    r"mobilenet_v[23]": MOBILE._replace(dropout="dropout"),
    r"regnet_": Family("stem.0", ("stem", "trunk_output"), "fc"),
    r"densenet\d": Family(
        *("features.conv0", ("features",), "classifier"),
        early_pool="features.pool0",
        least=(8, 32),
        dropout="drop_rate",
        relu=True,
    ),
    r"vit_": Family("conv_proj", (), "heads", dropout="dropout"),
}
