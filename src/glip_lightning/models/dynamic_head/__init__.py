"""Dynamic Head: the detector without text that GLIP is built upon, with a table of classes."""
