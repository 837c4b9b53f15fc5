"""What the pixels of files become: their depth, and their size."""
