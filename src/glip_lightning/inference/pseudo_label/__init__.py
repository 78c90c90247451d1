"""Grounding data of images and sentences, by a teacher.

This is GLIP's self-training (arXiv 2112.03857, section 3.3).
"""
