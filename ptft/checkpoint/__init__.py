"""Checkpoints: written, verified, read, found by what `ckpt=` names, and handed over to a new objective."""
