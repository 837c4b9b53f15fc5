"""Configuration: from overrides to one complete, checked, resolved configuration. Hydra and OmegaConf end here."""
