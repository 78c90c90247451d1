"""A detector on photos: predictions, drawing, pseudo-labels."""
