"""The script that people write: torchvision's dataset and transforms, a DataLoader, a loop."""

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("root")
parser.add_argument("--images", type=int, default=60_000)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--test", action="store_true")
given = parser.parse_args()

torch.manual_seed(given.seed)
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
train = Subset(datasets.MNIST(given.root, train=True, transform=transform), range(given.images))
loader = DataLoader(train, batch_size=64, shuffle=True)
model = nn.Sequential(
    *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    *(nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10)),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()

began = time.perf_counter()
for _ in range(given.epochs):
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
seconds = time.perf_counter() - began
result = {"rate": given.epochs * given.images / seconds, "seconds": seconds}
if given.test:
    model.eval()
    tested = DataLoader(datasets.MNIST(given.root, train=False, transform=transform), batch_size=1000)
    with torch.no_grad():
        hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in tested)
    result["accuracy"] = hits / 10_000
print(json.dumps(result))
