"""Data: annotations are read into an index, then made into samples and batches."""
