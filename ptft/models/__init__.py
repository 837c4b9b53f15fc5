"""Backbones: a folder per modality, one file per family, and wrappers of other libraries' in `hub`."""
