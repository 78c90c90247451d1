"""Files of detectors: names, folders, checkpoints, adapters and prompts, read and written."""
