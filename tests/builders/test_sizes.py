"""A checkpoint whose configuration asks for a model that its weights can't fill takes no memory for it."""

import shutil

import pytest
import torch

from ptft.builders.sizes import limit
from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.load import open_checkpoint
from ptft.errors import CheckpointError
from tests.conftest import Result, refused
from tests.helpers import processes

SAID = "its configuration asks for a model that is far larger than the weights in the file"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Where the checkpoint of a small model is."""
    return tmp_path_factory.mktemp("small") / "run"


@pytest.fixture(params=[{"width": 2**20}, {"depth": 10**5}, {"width": 4096, "depth": 64}], ids=str)
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


TOO_MANY = 2**30
MADE = {
    "arange": lambda n: torch.arange(n),
    "arange by halves": lambda n: torch.arange(0, n / 2, 0.5),
    "arange from an end": lambda n: torch.arange(end=n),
    "linspace": lambda n: torch.linspace(0, 1, n),
    "logspace": lambda n: torch.logspace(0, 1, steps=n),
    "eye": lambda n: torch.eye(1, n),
    "randn": lambda n: torch.randn(1, n),
    "randn of a size": lambda n: torch.randn((n,), generator=torch.Generator()),
    "zeros": lambda n: torch.zeros(n),
    "full": lambda n: torch.full((n,), 3.0),
    "randperm": lambda n: torch.randperm(n),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_whatever_makes_a_tensor_is_counted_before_it_is_made(pretrained, make):
    checkpoint = open_checkpoint(str(pretrained), "ckpt")
    with limit(checkpoint):
        assert make(10).numel() == 10
        with pytest.raises(CheckpointError, match="far larger"):
            make(TOO_MANY)


def test_a_range_that_torch_refuses_is_torchs_to_refuse(pretrained):
    with limit(open_checkpoint(str(pretrained), "ckpt")):
        for given in ((0, 5, 0), (0, float("inf")), (5, 0)):
            with pytest.raises(RuntimeError):
                torch.arange(*given)
        assert torch.arange(5, 0, -2).tolist() == [5, 3, 1]


def test_a_model_of_recordings_is_built_again_without_torchs_compiler(ptft):
    tones = ("dataset=tones", "dataset.count=20", "dataset.held_out=10", "model=audio_cnn", "model.width=8")
    done = ptft("stage=pretrain", *tones, "train.steps=1", "device=cpu", "hydra.run.dir=run")
    assert done.code == 0, done.text
    code = "import sys; from ptft.cli.main import run; print(run(sys.argv[1:]), 'torch._dynamo' in sys.modules)"
    done = processes.python(code, "stage=evaluate", "ckpt=run", "device=cpu")
    assert done.stdout.splitlines()[-1] == "0 False", done.stdout + done.stderr
    code = "import sys, ptft; ptft.load('run', device='cpu'); print('torch._dynamo' in sys.modules)"
    done = processes.python(code)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stdout + done.stderr
