"""Metrics and statistics: numbers from predictions."""
