"""``glip sweep``: a grid of recipes, resolved, run once each, on whatever there is to run them."""
