"""A name, file, folder or repository -> detector, and back."""
