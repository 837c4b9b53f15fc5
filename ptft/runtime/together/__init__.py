"""What a process must know of the others that train the same model: nothing, where there are none."""
