"""Sources of texts and what reads them."""
