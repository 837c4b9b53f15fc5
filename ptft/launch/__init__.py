"""Jobs: one configuration to its status, sweeps of them, and processes that run many."""
