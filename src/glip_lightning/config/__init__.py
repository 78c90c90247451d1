"""A recipe and the command line -> checked configuration -> trainer, module and data."""
