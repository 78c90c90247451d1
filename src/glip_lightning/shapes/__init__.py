"""A generated world: pictures of things that words describe, without any download.

:mod:`.words` and :mod:`.scene` define the things, :mod:`.paint`, :mod:`.outlines` and
:mod:`.styles` their look. :mod:`.pretraining_pictures` with :mod:`.descriptions` writes the data
for pre-training, :mod:`.task_pictures` the downstream tasks of :mod:`.shapes13`,
:mod:`.phrase_picture` a picture of given phrases. Every picture depends on its seed and number
alone.
"""
