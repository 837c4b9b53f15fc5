"""The loop, on a small objective of its own: gradients, checks before a step, averages, what is said and saved."""
