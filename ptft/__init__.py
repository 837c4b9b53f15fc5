"""ptft: pretrain a model on one dataset, finetune it on another, from the command line."""

__version__ = "0.2.0"
