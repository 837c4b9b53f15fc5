"""Values that a configuration leaves open and that are settled once its checkpoint is open."""
