"""A checkpoint whose configuration asks for a model that its weights can't fill takes no memory for it."""

import shutil

import pytest

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import Result, refused
from tests.helpers import processes

SAID = "its configuration asks for a model that is far larger than the weights in the file"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Where the checkpoint of a small model is."""
    return tmp_path_factory.mktemp("small") / "run"


@pytest.fixture(params=[{"width": 2**20}, {"depth": 10**6}, {"width": 4096, "depth": 64}], ids=str)
def huge(request, ptft, small, tmp_path):
    if not small.exists():
        typed = ("model=vit_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset=digits")
        done = ptft("stage=pretrain", *typed, "train.steps=1", "device=cpu", f"hydra.run.dir={small}")
        assert done.code == 0, done.text
    path = shutil.copytree(small, tmp_path / "run") / "checkpoints" / "last.pt"
    content, _ = checkpoint_file.read(path)
    content["config"]["model"] |= request.param
    checkpoint_file.write(path, content)
    return f"ckpt={path}"


def test_evaluation_prediction_and_finetuning_refuse_it(ptft, huge):
    refused(ptft("stage=evaluate", huge), 4, SAID)
    refused(ptft("stage=finetune", huge, "dataset=digits", "train.steps=1", "device=cpu"), 4, SAID)


@pytest.mark.parametrize("huge", [{"width": 4096, "depth": 64}], indirect=True, ids=str)
def test_it_takes_less_memory_than_a_small_process_may(huge):
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2); "
    done = processes.python(f"{code}from ptft.cli.main import main; main()", "stage=evaluate", huge)
    refused(Result(done.returncode, done.stdout, done.stderr), 4, SAID)
