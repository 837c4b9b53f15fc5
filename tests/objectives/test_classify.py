"""Classification: its loss, its random mixtures and its metrics, against formulas and scikit-learn."""
