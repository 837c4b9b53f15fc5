"""Parts of a run that are built beside its objective: what decides, and the processes that share the work."""
