"""Units of speech that nobody labelled: clusters of what is heard in every token, and what asks for them."""
