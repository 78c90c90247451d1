"""The Dynamic Head: image encoder, tower and head that GLIP shares, and the detector with a table of classes."""
