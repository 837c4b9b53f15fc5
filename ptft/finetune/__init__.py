"""Ways of finetuning: phases, low-rank factors, head initialisation, L2-SP."""
