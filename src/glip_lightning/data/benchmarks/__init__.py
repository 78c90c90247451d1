"""Tasks of public benchmarks: their tables and their download."""
