"""Does pretraining help? The same task by several arms, paired by seed: planned, run, measured and shown."""
