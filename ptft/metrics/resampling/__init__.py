"""How sure metrics are, by resampling what they were measured on."""
