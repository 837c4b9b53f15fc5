"""Sources of recordings and what reads them."""
