"""ResNet-18 in timm's style: PIL transforms in worker processes, channels last, AdamW, clipped gradients."""

import argparse
import json
import os
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

parser = argparse.ArgumentParser()
parser.add_argument("root")
parser.add_argument("--epochs", type=int, default=2)
given = parser.parse_args()
transform = transforms.Compose(
    [
        transforms.RandomResizedCrop(32, scale=(0.35, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        transforms.RandomErasing(0.1),
    ]
)
data = datasets.ImageFolder(f"{given.root}/train", transform)
loader = DataLoader(data, 64, shuffle=True, num_workers=os.cpu_count() or 1, persistent_workers=True, drop_last=True)
model = models.resnet18(num_classes=len(data.classes)).to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
criterion = nn.CrossEntropyLoss()
began, count = time.perf_counter(), 0
for _ in range(given.epochs):
    for images, labels in loader:
        loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        count += len(labels)
print(json.dumps({"rate": count / (time.perf_counter() - began)}))
