"""Language modelling objectives."""
