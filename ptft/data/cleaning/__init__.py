"""Examples that a user leaves out of a dataset, and how they are known again."""
