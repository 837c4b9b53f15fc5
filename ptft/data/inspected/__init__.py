"""What a dataset holds, read and compared: a module for each modality (`kinds.py` is their protocol)."""
