"""What is known of metrics by their names: which are shares, and of which less is better."""

SHARES = (
    "accuracy",
    "top5",
    "macro_f1",
    "micro_f1",
    "map",
    "precision",
    "recall",
    "f1",
    "exact_match",
    "exact",
    "agreement",
    "miou",
    "knn",
    "explained",
    "image_to_text",
    "text_to_image",
    *(f"{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (5, 10)),
)
LOWER = (
    "loss",
    "ece",
    "perplexity",
    "bits_per_byte",
    "wer",
    "wer_without_lm",
    "cer",
    "mae",
    "rmse",
    "mse",
    "too_short",
)


def is_share(name: str) -> bool:
    """Whether it is from 0 to 1; people are shown percent."""
    return name in SHARES or name.endswith("_accuracy") or name.startswith(("AP", "AR"))


def less_is_better(name: str) -> bool:
    """Of a metric of which nobody says so otherwise."""
    return name in LOWER or name.endswith("_loss") or name.startswith("wer_")
