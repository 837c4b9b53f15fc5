"""Runs on a table of one's own."""

RUN = (
    "stage=pretrain",
    "dataset=table",
    "model=bert_tiny",
    "model.width=16",
    "model.depth=1",
    "dataset.tokenizer=bytes",
)
"""What to type for a run of a tiny network on the texts of a table, but for `dataset.root`."""
