"""Images with boxes: what people's annotation files say, examples of it, and the row of a prediction."""
