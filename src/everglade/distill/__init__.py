"""Building training sets: negatives mined from runs, and examples that carry them."""
