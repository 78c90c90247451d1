"""Where the numbers and pictures of a run are shown: names of runs, CSV, TensorBoard, W&B."""
