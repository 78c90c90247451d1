"""Fine-tune GLIP, the detector that understands words, on your own images."""

__version__ = "0.1.0"
