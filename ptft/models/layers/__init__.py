"""Layers that backbones and heads share."""
