"""Pure functions on tensors: boxes, anchors, assignment, losses, post-processing."""
