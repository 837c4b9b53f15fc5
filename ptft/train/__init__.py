"""The training loop, what moves while it runs, and what speeds it up."""
