"""Findings about data sets: what is wrong in them, and what is only worth knowing."""
