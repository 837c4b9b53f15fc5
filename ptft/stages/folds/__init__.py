"""Cross-validation (`train.folds`): a training once for each part of the data, which is its test split."""
