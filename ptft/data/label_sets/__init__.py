"""Several labels an example, or none: how they are written, and as vectors of 0 and 1."""
