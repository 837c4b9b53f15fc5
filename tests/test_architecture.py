"""The house as code: who may import whom, and where the configuration may be known."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ptft"
FILES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"core", "errors", "validators"},
    {"runtime", "metrics"},
    {"loggers", "augment", "distributed", "runs", "optim"},
    {"data", "checkpoint", "finetune"},
    {"models", "train", "config"},
    {"objectives", "builders", "launch"},
    {"export"},
    {"stages", "cli"},
    {"__main__"},
]
"""Packages from the ground up: a package imports only what is below it, and equals do not meet."""

OPTIONAL = {
    "timm",
    "transformers",
    "datasets",
    "tokenizers",
    "soundfile",
    "soxr",
    "onnx",
    "tensorboard",
    "captum",
    "wandb",
    "trackio",
    "mlflow",
    "optuna",
    "onnxscript",
    "onnxruntime",
    "peft",
    "faster_coco_eval",
}
KNOW_CONFIG = {"cli", "config"}


def package(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imported(path: Path) -> set[str]:
    """Every module a file imports, `ptft.data.loader` and `ptft` (for `from ptft import x`: `ptft.x`) in full."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"ptft.{alias.name}" for alias in node.names} if node.module == "ptft" else {str(node.module)}
    return found


def level(name: str) -> int:
    return next(number for number, packages in enumerate(LEVELS) if name in packages)


def test_imports_point_down():
    for path in FILES:
        _points_down(path)


def _points_down(path):
    here = package(path)
    if here == "__init__":  # what it offers is imported when it is called
        at_once = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {getattr(node, "module", None) for node in at_once} <= {"__future__", "typing"}
        return
    for name in imported(path):
        top, _, rest = name.partition(".")
        there = rest.split(".")[0]
        if (
            top == "ptft"
            and rest
            and there != here
            and ((PACKAGE / there).with_suffix(".py").exists() or (PACKAGE / there).is_dir())
        ):
            assert level(there) < level(here), (
                f"{path.name} (level {level(here)}) imports {name} (level {level(there)})"
            )


def test_objectives_ask_for_capabilities_and_name_no_model():
    """What a model can do is declared in core; of `models` they use the layers alone."""
    for path in (PACKAGE / "objectives").rglob("*.py"):
        models = {name for name in imported(path) if name.startswith("ptft.models.")}
        assert not {name for name in models if not name.startswith("ptft.models.layers")}, path


def test_only_the_upper_packages_know_the_configuration():
    for path in FILES:
        tops = {name.split(".")[0] for name in imported(path)}
        assert "hydra" not in tops or package(path) in KNOW_CONFIG, path
        assert "omegaconf" not in tops or package(path) in KNOW_CONFIG, path


def test_optional_packages_are_imported_in_the_one_file_that_wraps_them():
    users: dict[str, set[Path]] = {}
    for path in FILES:
        for top in {name.split(".")[0] for name in imported(path)} & OPTIONAL:
            users.setdefault(top, set()).add(path)
    assert all(len(paths) == 1 for paths in users.values()), users


@pytest.mark.parametrize(
    "name", ["train/loop.py", "checkpoint/file.py", "checkpoint/transfer.py", "builders/run.py", "stages/train.py"]
)
def test_the_spine_names_no_model_objective_or_dataset(name):
    text = (PACKAGE / name).read_text(encoding="utf-8").lower()
    stems = {path.stem for group in ("models", "objectives") for path in (PACKAGE / group).rglob("*.py")} - {
        "__init__",
        "base",  # words of any trade
        "attention",
        "positions",
        "masking",
        "generation",
        "momentum_encoder",
    }
    configs = {path.stem for group in ("model", "dataset") for path in (ROOT / "conf" / group).glob("*.yaml")} - {
        "from_ckpt",
        "table",  # a noun of core.py, too
        "text",  # an ordinary word as well
        "shapes",  # as tensors have
    }
    assert not {word for word in stems | configs if re.search(rf"(?<![a-z]){word}(?![a-z])", text)}


@pytest.mark.parametrize(
    "path",
    [PACKAGE / name for name in ("train/loop.py", "train/state.py", "train/watch.py", "checkpoint/file.py")]
    + sorted((PACKAGE / "stages").rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_loop_and_the_stages_name_no_modality(path):
    text = path.read_text(encoding="utf-8").lower()
    names = {"images?", "audio", "speech", "recordings?", "spectrograms?", "tokeni[sz]ers?"}
    assert not {word for word in names if re.search(rf"\b{word}\b", text)}
    assert not re.search(r"modality\s*(==|!=|in\b)", text)


def test_torch_distributed_is_imported_where_processes_exchange_something():
    users = [path for path in FILES if any(name.startswith("torch.distributed") for name in imported(path))]
    assert {package(path) for path in users} == {"distributed"}


def test_every_package_has_a_level():
    assert {package(path) for path in FILES} - {"__init__"} == set().union(*LEVELS)


def test_no_folder_is_a_warehouse():
    assert len([*PACKAGE.glob("*/__init__.py"), *PACKAGE.glob("*.py")]) <= 24
    for folder in {path.parent for path in FILES} - {PACKAGE}:
        assert len(list(folder.glob("*.py"))) <= 15, folder  # with its __init__


def test_files_stay_small():
    """Core is longer: it is the one page of nouns, and stays one."""
    limits = {PACKAGE / "core.py": 380}
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {path: count for path, count in lines.items() if count > limits.get(path, 300)}


def test_nothing_swallows_errors_or_loads_half_a_model():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "strict=False" not in text.replace(" ", ""), path
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"{path}:{node.lineno}"


def test_what_is_said_goes_through_the_one_writer():
    """Anything else may fail where the terminal is gone, and end a run that has hours behind it."""
    for path in FILES:
        if path != PACKAGE / "runtime" / "terminal.py":
            calls = {node.func.id for node in nodes(path) if _named(node)}
            assert "print" not in calls, path


def _named(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
