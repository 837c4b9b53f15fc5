"""What a training step asks of the machine, counted and not timed: operations, copies, looks at values."""

import ast
import os

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.finetune.phases import Phases
from ptft.models.image.cnn import CNN
from ptft.objectives.supervised.classify import Classify
from ptft.optim.muon import Muon
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Cosine
from ptft.runtime.device import deterministic, find_device, tf32
from ptft.runtime.precision import place, ruled
from ptft.runtime.system import understood
from ptft.train.loop import train_step
from ptft.train.state import Budget, Every, Training
from ptft.train.watch import FiniteCheck
from tests.conftest import ROOT

STEP = [ROOT / "ptft" / "train" / f"{name}.py" for name in ("loop", "cuda_graph")]
for room in ("optim", "augment", "objectives", "models"):
    STEP += sorted((ROOT / "ptft" / room).rglob("*.py"))
CPU, META = torch.device("cpu"), torch.device("meta")
EVERYTHING = {
    "shift": 2, "flip": True, "rotate": 10, "scale": 0.1, "shear": 5, "crop": 0.5, "color": 0.5, "erase": 0.5,
    "randaugment": {"ops": 2, "magnitude": 9},
}  # fmt: skip


def prepared(device, optimizer=torch.optim.AdamW, **options):
    """A training of the cnn on 28x28 pixels in batches of 8, as the defaults make it; tensors of nothing on `meta`."""
    torch.manual_seed(0)
    spec = Spec("image", {"size": [28, 28], "channels": 1, "fit": "none"}, classes=tuple("0123456789"), mean=(0.5,))
    images = torch.randint(256, (32, 1, 28, 28), dtype=torch.uint8)
    examples = MemoryExamples(images, torch.arange(32) % 10).to(device)
    objective = place(Classify(CNN(spec), spec, **options).to(device), ruled("fp32", "auto", CPU)).train()
    return Training(
        objective=objective,
        optimizer=optimizer(
            parameter_groups(objective, Phases(objective).scales, lr=1e-3, weight_decay=0.05), fused=device is CPU
        ),
        schedule=Cosine(),
        loader=Loader(examples, 8, device=device, shuffle=True),
        val=None,
        budget=Budget(epochs=10),
        every=Every(log=None, evaluate=10, save=10),
        monitor=objective.monitor,
        clip=1.0,
    )


def counted(t):
    """How often each operation ran in one step, batch and all, after others that made the optimizer's state."""
    batches, finite = t.loader.epoch(), FiniteCheck(t)
    return operations(lambda: train_step(t, next(batches), finite))


def operations(step):
    """How often each operation runs in a step that is not the first."""
    for _ in range(2):
        step()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        step()
    return {event.key: event.count for event in seen.key_averages() if event.key.startswith("aten::")}


def bare(t):
    """How often each operation ran in one step of the same parts in the shortest loop there is."""
    batches, parameters = t.loader.epoch(), list(t.objective.parameters())

    def step():
        loss = t.objective(next(batches))
        (loss.total / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        t.optimizer.step()
        t.optimizer.zero_grad(set_to_none=True)

    return operations(step)


def test_a_step_of_the_cnn_asks_for_little_more_than_a_bare_one():
    """What is beside it: rates that are set, sums that are kept, a look at whether the loss is finite."""
    found, least = counted(prepared(CPU, views={"shift": 2})), bare(prepared(CPU, views={"shift": 2}))
    assert found["aten::convolution_backward"] == least["aten::convolution_backward"] == 2
    assert sum(found.values()) <= 1.1 * sum(least.values()), {k: n - least.get(k, 0) for k, n in found.items()}
    assert found["aten::copy_"] <= 1.1 * least["aten::copy_"]


def test_a_step_looks_at_one_value():
    """Whether loss and gradient are finite, which is free on a CPU. (AdamW there also reads its counts.)"""
    found = counted(prepared(CPU, torch.optim.SGD, views={"shift": 2}))
    assert found["aten::_local_scalar_dense"] == found["aten::item"] == 1


class Arrivals(TorchDispatchMode):
    """Counts tensors that come from the CPU to where the others are."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        source = [value for value in arguments if isinstance(value, torch.Tensor)]
        goes = str(keywords.get("device", "cpu")) == "meta" or (source and source[0].device == META)
        if "copy" in str(function) and goes and any(value.device == CPU for value in source):
            self.count += 1
        return function(*arguments, **keywords)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, Muon])
@pytest.mark.parametrize(
    "options",
    [{}, {"views": {"shift": 2, "flip": True}, "label_smoothing": 0.1, "dropout": 0.1}, {"views": EVERYTHING}],
    ids=["plain", "usual", "everything"],
)
def test_a_step_reads_no_value_and_copies_nothing_to_the_device(options, optimizer):
    """On the `meta` device there are no values: what waits for one fails, and a CUDA graph may record the rest."""
    t = prepared(META, optimizer, **options)
    batches, finite = t.loader.epoch(), FiniteCheck(t)
    with Arrivals() as arrivals:
        for _ in range(2):
            train_step(t, next(batches), finite)
    assert t.progress.step == 2
    assert arrivals.count == 1, "the order of an epoch, once"


@pytest.mark.parametrize("path", STEP, ids=lambda path: path.name)
def test_no_number_is_sent_to_the_device(path):
    """`torch.tensor(number, device=…)` waits for the device, `torch.full` does not; neither shows on `meta`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    sent = [
        node.lineno
        for node in calls
        if ast.unparse(node.func) in ("torch.tensor", "torch.as_tensor")
        and any(keyword.arg == "device" for keyword in node.keywords)
    ]
    assert not sent


def test_a_look_at_a_value_would_be_noticed():
    t = prepared(META)
    t.objective.register_forward_hook(lambda module, inputs, step: float(step.total) and None)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        train_step(t, next(t.loader.epoch()), FiniteCheck(t))


@pytest.fixture
def _flags():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.conv.fp32_precision = before[1]


@pytest.mark.usefixtures("_flags")
def test_tf32_is_a_matter_of_cuda_and_of_choice():
    torch.set_float32_matmul_precision("highest")
    assert not tf32(True, CPU)
    assert torch.get_float32_matmul_precision() == "highest"
    assert tf32(True, torch.device("cuda"))
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision) == ("high", "tf32")
    assert not tf32(False, torch.device("cuda"))
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision) == ("highest", "ieee")


def test_kernels_that_repeat_themselves_are_a_matter_of_cuda_and_of_choice(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.utils.deterministic.fill_uninitialized_memory
    try:
        deterministic(True, CPU)
        assert not torch.are_deterministic_algorithms_enabled()
        deterministic(True, torch.device("cuda"))
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        with pytest.raises(RuntimeError, match="deterministic") as torch_says:
            torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        said = str(understood(torch_says.value))
        assert said.startswith("train.deterministic=true: torch has no put_")
        assert said.endswith("set it to false")
        deterministic(False, torch.device("cuda"))
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = before


def test_the_second_gpu_is_the_one_that_what_names_none_works_on(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [find_device("cuda:1"), find_device("cpu")] == [torch.device("cuda", 1), CPU]
    assert chosen == [torch.device("cuda", 1)]
    with pytest.raises(ConfigError, match="device=cuda:2"):
        find_device("cuda:2")
