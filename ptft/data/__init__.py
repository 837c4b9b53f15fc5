"""Sources: one file per kind of data. `Spec.modality` names the file here that reads raw items."""
