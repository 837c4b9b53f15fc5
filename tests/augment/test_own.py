"""Views of one's own: what a module gets, what it may give back, and that its numbers are its example's."""

import types

import pytest
import torch
from torch import nn

from ptft.augment.own import SEEDS, OwnViews
from ptft.augment.views import changes, views
from ptft.core import Spec
from ptft.errors import ConfigError, NotFiniteError, ResourceError
from ptft.runtime.together import draws
from ptft.train.watch import FiniteCheck

CPU = torch.device("cpu")
IMAGES = Spec("image", {"size": [6, 6], "channels": 1}, mean=(0.2,), std=(0.5,))


class Calls(nn.Module):
    """Does what a function of a batch says, and keeps what it was given."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight, self.given = function, nn.Parameter(torch.ones(())), []

    def forward(self, x):
        self.given.append(x.clone())
        return self.function(x)


def own(function, **options):
    return OwnViews(Calls(function), "objective.views._target_=mine.Views", **options)


def noisy(x):
    return x + torch.rand(len(x), *[1] * (x.ndim - 1))


def test_it_maps_a_copy_in_training_only_and_does_not_learn():
    x = torch.randn(5, 1, 6, 6)
    kept, made = x.clone(), own(lambda x: x.mul_(2))
    assert torch.equal(made(x), 2 * kept)
    assert torch.equal(x, kept)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert made.eval()(x) is x
    assert len(made.module.given) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert own(lambda x: nn.functional.conv2d(x, torch.ones(1, 1, 1, 1)))(x).dtype == torch.float32
    assert own(lambda x: x.double())(x.bfloat16()).dtype == torch.bfloat16


def broken(x):
    raise ValueError("only on Tuesdays")


def too_much(x):
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (broken, ConfigError, r"fails on a batch \[5, 1, 6, 6\] \(ValueError: only on Tuesdays\)"),
        (lambda x: x[..., 1:], ConfigError, r"gives torch.float32 \[5, 1, 6, 5\], must give floats \[5, 1, 6, 6\]"),
        (lambda x: x.long(), ConfigError, "gives torch.int64"),
        (lambda x: None, ConfigError, "gives NoneType"),
        (lambda x: x.to("meta"), ConfigError, "on meta"),
        (lambda x: x / 0, NotFiniteError, "not finite"),
    ],
)
def test_what_it_gives_that_is_no_view_is_said_in_one_line(function, error, said):
    with pytest.raises(error, match=said) as caught:
        own(function)(torch.ones(5, 1, 6, 6))
    assert str(caught.value).startswith("objective.views._target_=mine.Views: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_its_fault_is_not_called_so():
    with pytest.raises(torch.OutOfMemoryError):
        own(too_much)(torch.ones(5, 1, 6, 6))

    def ends(x):
        raise ResourceError("no more of it")

    with pytest.raises(ResourceError):
        own(ends)(torch.ones(5, 1, 6, 6))


def test_recordings_stay_as_long_and_only_their_own_values_must_be_finite():
    x = torch.randn(3, 7, 4)
    x[1, 4:] = torch.nan
    view = own(lambda x: torch.where(x.isnan(), 0, x + 1))(x)
    assert torch.equal(view.isnan(), x.isnan())
    assert torch.equal(view.nan_to_num(0), (x + 1).nan_to_num(0))
    with pytest.raises(NotFiniteError):
        own(lambda x: x.masked_fill(torch.arange(7)[:, None] == 2, torch.inf))(x)


def test_each_example_gets_a_call_and_numbers_of_its_own_that_resume_and_processes_repeat():
    x = torch.zeros(6, 1, 2, 2)
    torch.manual_seed(3)
    made = own(lambda x: x + torch.rand(()), each=True)
    alone, after = made(x), torch.rand(1)
    assert [list(given.shape) for given in made.module.given] == [[1, 1, 2, 2]] * 6
    assert len(alone[:, 0, 0, 0].unique()) == 6
    torch.manual_seed(3)
    torch.randint(SEEDS, (6,))
    assert torch.equal(torch.rand(1), after)  # what it draws moves torch's generator by one number an example
    torch.manual_seed(3)
    try:
        draws.share(CPU, 99, in_parts=False)
        draws.at(2, 3, 6)
        assert torch.equal(made(x[2:5]), alone[2:5])
    finally:
        draws.forget()
    assert not made.draws_alone
    assert own(noisy).draws_alone


def test_values_from_0_to_1_are_normalised_again():
    scale, offset = torch.tensor([2.0]).view(1, 1, 1), torch.tensor([-0.4]).view(1, 1, 1)
    raw = torch.rand(4, 1, 6, 6)
    made = own(lambda x: 1 - x, unit=(scale, offset))
    view = made(raw * scale + offset)
    torch.testing.assert_close(made.module.given[0], raw)
    torch.testing.assert_close(view, (1 - raw) * scale + offset)


def test_it_takes_the_place_of_views_and_crops_come_first():
    made = own(lambda x: x + 1)
    assert views(IMAGES, made) is made
    assert changes(made)
    x = torch.randn(3, 1, 6, 6)
    cropped = views(IMAGES, made, crop=0.3, size=(3, 3))(x)
    assert cropped.shape == (3, 1, 3, 3)
    assert list(made.module.given[0].shape) == [3, 1, 3, 3]
    with pytest.raises(ConfigError, match=r"mine\.Views: there are no views of text"):
        views(Spec("text", {}), made)


def test_a_loss_that_is_not_finite_because_of_it_is_called_its_fault():
    """Where looking at values would wait for the device, they are looked at when the loss shows that it is needed."""
    made = own(noisy)
    task = nn.Sequential(made, nn.Linear(2, 2))
    optimizer = types.SimpleNamespace(param_groups=[{"lr": 0.1, "lr_scale": 1.0}])
    training = types.SimpleNamespace(objective=task, optimizer=optimizer, progress=types.SimpleNamespace(step=4))
    with pytest.raises(NotFiniteError, match=r"lower optimizer\.lr"):
        FiniteCheck(training).add(torch.tensor(torch.nan))
    made.spoiled.fill_(True)
    with pytest.raises(NotFiniteError, match=r"mine\.Views: gives values that are not finite"):
        FiniteCheck(training).add(torch.tensor(torch.nan))
