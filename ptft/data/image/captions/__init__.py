"""Images with captions: pairs of a picture and what somebody says of it."""
