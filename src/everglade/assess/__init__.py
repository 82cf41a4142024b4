"""What runs, indexes and models come to on judged collections: alone, beside a baseline, and on a whole suite."""
