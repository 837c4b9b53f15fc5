"""Data: sources, a folder per modality, and what turns them into batches. `Spec.modality` names the folder."""
