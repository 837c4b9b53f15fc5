"""Sources of images and what reads them."""
