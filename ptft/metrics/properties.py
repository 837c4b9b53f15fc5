"""What is known of metrics by their names: which are shares, and of which less is better."""

SHARES = ("accuracy", "top5", "macro_f1", "precision", "recall", "f1", "exact_match", "knn")
"""From 0 to 1; people are shown percent."""
LOWER = ("loss", "perplexity", "wer", "cer", "mae", "rmse", "mse")
"""Less is better, where a run does not say."""
