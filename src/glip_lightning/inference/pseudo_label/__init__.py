"""Images and sentences -> grounding data by a teacher, as in GLIP's self-training (arXiv 2112.03857, section 3.3)."""
