"""What was marked in an input, made visible or audible: a module for each modality (`marks.py` is their protocol)."""
