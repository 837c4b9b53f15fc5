"""How sure what was measured is: intervals by resampling and by seeds, and forecasts along learning curves."""
