"""Recipes: the order in which the stages run, from raw texts to an evaluated model; TOML files, and what runs them."""
