"""The stage `compare`: does pretraining help? The same task by several arms, paired by seed."""
