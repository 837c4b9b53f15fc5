"""What evaluations say beside the metrics: how sure they are, by which part of the examples, against another model."""
