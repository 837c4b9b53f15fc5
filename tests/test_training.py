"""When a run evaluates, saves and ends, and which of its evaluations is the best."""
