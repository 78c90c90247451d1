"""The Dynamic Head: its convolutions over a pyramid, and the table of classes of the detector without text."""
