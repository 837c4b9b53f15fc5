"""Replay: batches of which a share comes from another dataset, so that what was learned of it is not forgotten."""
