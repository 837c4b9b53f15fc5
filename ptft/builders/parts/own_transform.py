"""A transform of the user's own for each training image, from the node that names it."""

from __future__ import annotations

from typing import Any

from ptft.builders.parts.own_classes import TARGET, built, names_class, shown
from ptft.config.config import plain
from ptft.core import Examples, Spec
from ptft.data.user_dataset.transformed import KINDS, Transformed
from ptft.errors import ConfigError

KEY, GIVEN = "dataset.transform", "_given_"
MOVED = ("boxes", "masks")
"""Targets that would have to move with the image."""


def transformed(examples: Examples, node: Any, spec: Spec, trusted: tuple[str, ...]) -> Examples:
    """The examples, each image of which what the node names changes, if it names anything; `_given_` says what it gets.

    torchvision's transforms get tensors, which all of them take, others arrays, albumentations' by name. Raises
    ConfigError naming the key.
    """
    if not names_class(node):
        return examples
    name = shown(node, KEY)
    if spec.modality != "image":
        raise ConfigError(f"{name}: is for images, the dataset yields {spec.modality}")
    if spec.target in MOVED:
        raise ConfigError(
            f"{name}: can't be used where {spec.target} must move with the image; objective.views does it"
        )
    options = {option: value for option, value in plain(node).items() if option != GIVEN}
    kind = node.get(GIVEN, "tensor" if str(node[TARGET]).startswith("torchvision.") else "array")
    if kind not in KINDS:
        raise ConfigError(f"{KEY}.{GIVEN}={kind}: choose {', '.join(KINDS)}")
    made = built(options, trusted, KEY, object)
    if not callable(made):
        raise ConfigError(f"{name}: can't be called with an image; it lacks __call__")
    by_name = type(made).__module__.startswith("albumentations.")
    return Transformed(examples, _ByName(made) if by_name else made, kind, name)


class _ByName:
    """What takes `image=` and gives it back by that name, as transforms of albumentations do."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def set_random_seed(self, seed: int) -> None:
        if (own := getattr(self.transform, "set_random_seed", None)) is not None:
            own(seed)

    def __call__(self, image: Any) -> Any:
        return self.transform(image=image)["image"]
