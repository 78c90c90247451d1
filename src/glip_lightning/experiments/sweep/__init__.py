"""``glip sweep``: the trials of a grid of recipes, each of which runs once."""
