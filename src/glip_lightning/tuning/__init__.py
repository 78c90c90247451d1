"""Ways to tune a detector: what is trained and how fast. A recipe names one by its class."""
