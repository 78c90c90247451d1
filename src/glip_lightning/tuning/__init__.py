"""What of a detector is trained, and how fast: one object per way of tuning, chosen in a recipe by its class name."""
