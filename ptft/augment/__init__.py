"""Random augmentations of training batches, on the device."""
