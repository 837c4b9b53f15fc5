"""A run on eight digits of two classes, for networks that are not small."""

SHORT = (
    "dataset=digits",
    "dataset.classes=['0','1']",
    "dataset.limit=8",
    "train.steps=1",
    "train.batch_size=4",
    "device=cpu",
)
