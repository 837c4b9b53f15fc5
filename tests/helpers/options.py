"""Every option of every group, found by itself, and what its YAML notes under `_test_` for the tests of all options.

typed: what a step with it types beside its name. composed_only: why no step is taken with it.
Of models, large: it is left out where a small one of its kind shows the same; width: of the features, if no key is.
Of objectives without labels, learns: by how much 40 steps change a metric, and whether the loss may rise meanwhile.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
OPTIONS = sorted(
    str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml") if not path.stem.startswith("_")
)


def of(group: str) -> list[str]:
    """The names in a group that can be built without a checkpoint or files of others."""
    here = [option.partition("/")[2] for option in OPTIONS if option.startswith(f"{group}/")]
    return [name for name in here if "composed_only" not in note(f"{group}/{name}")]


@cache
def node(option: str) -> dict[str, Any]:
    """The YAML of an option with what it shares with others, notes and all; read it, don't change it."""
    own = yaml.load((CONF / f"{option}.yaml").read_text(encoding="utf-8"), Loader=LOADER)
    found: dict[str, Any] = {}
    for shared in own.get("defaults", []):
        if isinstance(shared, str) and shared != "_self_":
            found |= {key: value for key, value in node(f"{option.split('/')[0]}/{shared}").items() if key != "_test_"}
    return found | own


def note(option: str) -> dict[str, Any]:
    found: dict[str, Any] = node(option).get("_test_", {})
    return found


def typed(option: str) -> list[str]:
    words: list[str] = note(option).get("typed", [])
    return words


def typed_dataset(option: str) -> str | None:
    """The dataset among what a step types."""
    found = [word.removeprefix("dataset=") for word in typed(option) if word.startswith("dataset=")]
    return found[0] if found else None


def modality(option: str) -> str:
    """Of what a step reads: images where no dataset is typed."""
    dataset = typed_dataset(option)
    return str(node(f"dataset/{dataset}")["_target_"]).split(".")[2] if dataset else "image"
