"""What a run, a comparison or a study came to, as one page that anybody can read."""
