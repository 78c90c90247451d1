"""The Dynamic Head: a tower of dynamic convolutions over the pyramid."""
