"""How the split that is trained on is divided: shares that are val and test, and folds of a cross-validation."""
