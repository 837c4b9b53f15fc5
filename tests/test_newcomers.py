"""One file and one YAML are enough: newcomers in a copy of the repository pass the tests that list things, unasked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MODEL = '''"""One matrix over all pixels. Axes: B batch, C channels, H height, W width."""

from __future__ import annotations

from torch import Tensor, nn

from ptft.core import Features, Spec
from ptft.models.image.base import ImageBackbone


class Newcomer(ImageBackbone):
    def __init__(self, spec: Spec, width: int = 8) -> None:
        super().__init__(spec)
        self.width = width
        self.project = nn.Linear(self.size[0] * self.size[1] * self.channels, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        return Features(self.project(x.flatten(1)).unsqueeze(1))

    def layers(self) -> list[list[nn.Module]]:
        return [[self.project]]
'''

DATASET = '''"""Bars that lie and bars that stand, made when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ptft.data.examples import MemoryExamples
from ptft.data.image.source import ImageSource, Keys

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Newcomer(ImageSource):
    def __init__(self, count: int = 40, **keys: Unpack[Keys]) -> None:
        super().__init__(**keys)
        self.count = count
        self.describe(("lying", "standing"), ("train", "val", "test"), (28, 28), 1, (0.1,), (0.3,))

    def load(self, split: str) -> MemoryExamples:
        images = torch.zeros(self.count, 1, 28, 28, dtype=torch.uint8)
        images[0::2, :, 12:16] = 255
        images[1::2, :, :, 12:16] = 255
        return MemoryExamples(images, torch.arange(self.count) % 2)


def sample(root: Path) -> None:
    """Nothing to write."""
'''

OBJECTIVE = '''"""Inversion objective: is an image as it was, or less itself? Axes: B batch, … of an image."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Spec, Step
from ptft.metrics.newcomer import share
from ptft.objectives.self_supervised.base import Unlabelled, count


class Newcomer(Unlabelled):
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})

    def __init__(self, backbone: Backbone, spec: Spec, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__(backbone, spec, **options)
        self.scale = scale
        self.head = nn.Linear(backbone.width, 2)

    def learn(self, x: Tensor) -> Step:
        logits = self.head(self.features(torch.cat([x, -x]))).float() * self.scale
        answers = torch.arange(2, device=x.device).repeat_interleave(len(x))
        total = F.cross_entropy(logits, answers, reduction="sum") / 2
        return Step(total, count(x), {"right": (logits.detach().argmax(1) == answers).sum()})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"inversion_accuracy": share(sums["right"], 2 * sums["count"]), **super().metrics(sums)}
'''

METRIC = '''"""A share, in a file of its own."""

from __future__ import annotations

from torch import Tensor


def share(part: Tensor, whole: Tensor) -> float:
    """How much of `whole` is `part`, from 0 to 1."""
    return float(part / whole)
'''

STAGE = '''"""Say how many examples there are."""

from __future__ import annotations

from typing import Any

from ptft.builders import components
from ptft.config.resolve import Job
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """`examples`, of the training split."""
    cfg = job.config
    examples = components.source(cfg.dataset, None, cfg.trusted).split("train")
    assert examples is not None
    out.say(f"{len(examples)} times {cfg.times}")
    return {"examples": len(examples)}
'''

LOGGER = '''"""Logger of the lowest loss so far, in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.loggers.logger import Logger


class Newcomer(Logger):
    def __init__(self, folder: Path, digits: int = 3) -> None:
        self.path, self.digits = folder / "lowest.txt", digits
        self.lowest = float("inf")

    def log(self, row: Mapping[str, Any]) -> None:
        self.lowest = min(self.lowest, row["loss"])
        self.path.write_text(f"{self.lowest:.{self.digits}f}")
'''

SCHEDULE = '''"""Cosine schedule that begins anew (SGDR: Loshchilov & Hutter 2017), in rounds of equal length."""

from __future__ import annotations

import math

from ptft.optim.schedules import Schedule


class Newcomer(Schedule):
    def __init__(self, *, warmup: int | float = 0, rounds: int = 3) -> None:
        super().__init__(warmup=warmup)
        self.rounds = rounds

    def fall(self, step: float, steps: float, warmup: float) -> float:
        done = (step - warmup) / max(steps - warmup, 1) * self.rounds
        return (1 + math.cos(math.pi * (done % 1))) / 2
'''

FILES = {
    "ptft/models/image/newcomer.py": MODEL,
    "ptft/data/image/newcomer.py": DATASET,
    "ptft/objectives/self_supervised/newcomer.py": OBJECTIVE,
    "ptft/metrics/newcomer.py": METRIC,
    "ptft/stages/newcomer.py": STAGE,
    "ptft/loggers/newcomer.py": LOGGER,
    "ptft/optim/newcomer.py": SCHEDULE,
    "conf/model/newcomer.yaml": """# One matrix.
_target_: ptft.models.image.newcomer.Newcomer
width: 8   # of the features

_rules_: {width: count}
""",
    "conf/dataset/newcomer.yaml": """# Bars that lie and bars that stand; embedded.
defaults: [_image, _self_]   # ptft cp dataset/_image: the keys of all images, and what they mean

_target_: ptft.data.image.newcomer.Newcomer
root: null  # needs no files
count: 40   # in each split

_rules_: {count: count}
""",
    "conf/objective/newcomer.yaml": """# Is the image as it was, or less itself? Needs no labels.
_target_: ptft.objectives.self_supervised.newcomer.Newcomer
scale: 1.0   # of the logits
views: ${oc.select:dataset.views,{}}   # random views of training images; null = none

_rules_: {scale: above 0}
""",
    "conf/optimizer/newcomer.yaml": """# Adam with Nesterov momentum (Dozat 2016).
_target_: torch.optim.NAdam
lr: 0.002
weight_decay: 0.0
betas: [0.9, 0.999]

_rules_: {lr: above 0, weight_decay: at least 0, betas: betas}
""",
    "conf/logger/newcomer.yaml": """# @package logger.newcomer
# The lowest loss so far.
_target_: ptft.loggers.newcomer.Newcomer
digits: 3   # behind the point

_rules_: {digits: count}
""",
    "conf/schedule/newcomer.yaml": """# Cosine that begins anew.
_target_: ptft.optim.newcomer.Newcomer
warmup: 0.0   # a whole number of steps, or a fraction of the run
rounds: 3     # how often it falls

_rules_: {warmup: at least 0, rounds: count}
""",
    "conf/stage/newcomer.yaml": """# @package _global_
# Say how many examples there are.
stage:
  _target_: ptft.stages.newcomer.run

ckpt: null   # not needed
times: 2     # by what the count is multiplied

_rules_: {times: count}
""",
}
"""What newcomers bring: a file and a YAML each, a metric a file alone, an optimizer of torch's a YAML alone."""

GROUPS = sorted(name.split("/")[1] for name in FILES if name.startswith("conf/"))

BREAKS = {
    "ptft/models/image/newcomer.py": ("flatten(1)", "flatten(0)"),
    "ptft/data/image/newcomer.py": ("torch.arange(self.count) % 2", "torch.arange(3)"),
    "ptft/objectives/self_supervised/newcomer.py": ("torch.cat([x, -x])", "x"),
    "conf/optimizer/newcomer.yaml": ("NAdam", "ASGD"),  # which has no betas
    "ptft/stages/newcomer.py": ("cfg.times", "cfg.multiple"),
    "ptft/loggers/newcomer.py": ('row["loss"]', 'row["losses"]'),
    "ptft/optim/newcomer.py": ("self.rounds = rounds", "self.round = rounds"),
}
"""A mistake in each that composes."""


def named(text):
    return text.replace("newcomer", "mistaken").replace("Newcomer", "Mistaken")


def mistaken(name, text):
    """The same newcomer by another name, with its mistake."""
    right, wrong = BREAKS.get(name, ("", ""))
    assert right in text
    return named(text.replace(right, wrong) if right else text)


LISTS = [
    "tests/test_conf.py",
    "tests/test_readme.py",
    "tests/test_architecture.py",
    "tests/config/test_rules.py",
    "tests/models/test_conf_models.py",
    "tests/objectives/self_supervised/test_self_supervised.py",
    "tests/cli/test_main.py",
]
"""Tests that find things by themselves or compare them with a list."""

WHOLE = "test_readme or test_architecture or vanishes or test_every_class or known or test_ls or seen_by_nobody"
"""Those that see all options at once, the newcomers among them; of the others only what names a newcomer is run."""


@pytest.fixture
def repository(tmp_path):
    """A copy of every file that is or would be committed, with the newcomers in it."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git repository")
    copy = tmp_path / "copy"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for name, text in (FILES | {named(name): mistaken(name, text) for name, text in FILES.items()}).items():
        assert not (copy / name).exists()
        (copy / name).write_text(text)
    return copy


def outcomes(copy, files, chosen):
    """Which of the chosen tests passed and which failed in the copy, by their ids."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-rA", "--tb=short"]
    arguments = [*pytest_, "--import-mode=importlib", *files, "-k", chosen]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True, timeout=1200)
    found = re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    passed = {name for what, name in found if what == "PASSED"}
    return passed, {name for what, name in found if what != "PASSED"}, done.stdout


def steps(name):
    return {f"tests/test_conf.py::test_a_step_with_an_option_of_every_class[{group}/{name}]" for group in GROUPS}


@pytest.mark.slow
def test_newcomers_are_tested_unasked_and_break_no_list_and_their_mistakes_are_noticed(repository):
    passed, failed, said = outcomes(
        repository, LISTS, f"(newcomer or (mistaken and every_class) or {WHOLE}) and not shown_composes"
    )
    assert not {name for name in failed if "mistaken" not in name}, said
    assert steps("newcomer") <= passed
    assert steps("mistaken") <= failed
    models = {name for name in passed if "test_conf_models.py" in name and "newcomer" in name}
    objectives = {name for name in passed if "test_self_supervised.py" in name and "newcomer" in name}
    assert "tests/models/test_conf_models.py::test_gradient_reaches_every_parameter[newcomer]" in models
    assert "tests/objectives/self_supervised/test_self_supervised.py::test_it_learns[newcomer]" in objectives
    assert len(models) >= 7
    assert len(objectives) >= 7
