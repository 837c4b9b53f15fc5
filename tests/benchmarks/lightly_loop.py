"""SimCLR or DINO of ptft's convnet with lightly, as its documentation writes it: views in a DataLoader, a loop."""

import argparse
import copy
import itertools
import json
import os
import time
from pathlib import Path

import torch
from lightly.data import LightlyDataset
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import DINOProjectionHead, SimCLRProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.multi_view_transform import MultiViewTransform
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from ptft.data.image.torchvision import Torchvision
from ptft.models.image.convnet import Convnet
from ptft.optim.schedules import Cosine

LOCAL, PROTOTYPES = 4, 1024


class SimCLR(nn.Module):
    def __init__(self, backbone: Convnet, steps: int) -> None:
        super().__init__()
        self.backbone, width = backbone, backbone.width
        self.head = SimCLRProjectionHead(width, width, 128)
        self.criterion = NTXentLoss(temperature=0.5)

    def embed(self, x: Tensor) -> Tensor:
        return self.head(self.backbone.pool(self.backbone(x)))

    def loss(self, views: list[Tensor], step: int) -> Tensor:
        return self.criterion(self.embed(views[0]), self.embed(views[1]))

    def before_step(self, step: int) -> None:
        pass

    def after_step(self, step: int) -> None:
        pass


class DINO(nn.Module):
    """With the head's BatchNorm, which its documentation wants for convolutions, and ptft's other sizes and phases."""

    def __init__(self, backbone: Convnet, steps: int) -> None:
        super().__init__()
        self.backbone, self.steps, width = backbone, steps, backbone.width
        sizes, frozen = (width, 2 * width, 128, PROTOTYPES, True), round(0.05 * steps)
        self.head = DINOProjectionHead(*sizes, freeze_last_layer=frozen)
        self.teacher = nn.ModuleList([copy.deepcopy(backbone), DINOProjectionHead(*sizes)])
        self.teacher[1].load_state_dict(self.head.state_dict())
        deactivate_requires_grad(self.teacher)
        self.criterion = DINOLoss(PROTOTYPES, warmup_teacher_temp=0.03, teacher_temp=0.04, student_temp=0.1)

    def loss(self, views: list[Tensor], step: int) -> Tensor:
        backbone, head = self.teacher
        with torch.no_grad():
            wanted = [head(backbone.pool(backbone(view))) for view in views[:2]]
        answers = [self.head(self.backbone.pool(self.backbone(view))) for view in views]
        temperature = 0.03 + 0.01 * min(step / (0.3 * self.steps), 1)
        return self.criterion(wanted, answers, teacher_temp=temperature)

    def before_step(self, step: int) -> None:
        self.head.cancel_last_layer_gradients(step)

    def after_step(self, step: int) -> None:
        momentum = cosine_schedule(step, self.steps, 0.99, 1)
        update_momentum(nn.ModuleList([self.backbone, self.head]), self.teacher, momentum)


def view(size: int, low: float, high: float, mean: tuple[float, ...], std: tuple[float, ...]) -> transforms.Compose:
    """Turned, sheared and cut out. In this order nothing is cut off before it is turned, as with ptft's one warp."""
    bilinear = transforms.InterpolationMode.BILINEAR
    return transforms.Compose(
        [
            transforms.RandomAffine(15, shear=10, interpolation=bilinear),
            transforms.RandomResizedCrop(size, (low, high), interpolation=bilinear),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def groups(task: nn.Module, decay: float) -> list[dict[str, object]]:
    """Biases and norms do not decay, as in ptft."""
    learns = [parameter for parameter in task.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in learns if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in learns if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--method", choices=["simclr", "dino"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, required=True, help="where the backbone's weights go")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    spec = Torchvision(name="mnist", root=Path(given.root)).spec
    large, small = spec.shape["size"][0], spec.shape["size"][0] // 2
    if given.method == "simclr":
        made = [view(large, 0.5, 1.0, spec.mean, spec.std)] * 2
    else:
        made = [view(large, 0.4, 1.0, spec.mean, spec.std)] * 2
        made += [view(small, 0.1, 0.4, spec.mean, spec.std)] * LOCAL
    images = LightlyDataset.from_torch_dataset(datasets.MNIST(given.root), transform=MultiViewTransform(made))
    loader = DataLoader(images, given.batch, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1)
    task = {"simclr": SimCLR, "dino": DINO}[given.method](Convnet(spec), given.steps)
    optimizer = torch.optim.AdamW(groups(task, 0.05), lr=given.lr, fused=True)
    factor = Cosine(warmup=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, given.steps))
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    began = time.perf_counter()
    for step, (views, _, _) in enumerate(itertools.islice(batches, given.steps)):
        loss = task.loss(views, step)
        optimizer.zero_grad()
        loss.backward()
        task.before_step(step)
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        task.after_step(step + 1)
    seconds = time.perf_counter() - began
    torch.save(task.backbone.state_dict(), given.save)
    print(json.dumps({"rate": given.steps * given.batch / seconds}))


if __name__ == "__main__":
    main()
