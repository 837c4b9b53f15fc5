"""Where decoded examples are kept: memory, or a memory-mapped file."""
