"""Self-supervised objectives: pretraining without labels."""
