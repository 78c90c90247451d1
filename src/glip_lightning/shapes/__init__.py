"""A generated world: pictures of things that words describe, for pre-training and for tasks after it; no download.

:mod:`.words` and :mod:`.scene` say what there is, :mod:`.paint`, :mod:`.outlines` and :mod:`.styles` how it looks.
:mod:`.pretraining_pictures` with :mod:`.descriptions` writes what a detector is pre-trained on,
:mod:`.task_pictures` the tasks of :mod:`.shapes13`, :mod:`.phrase_picture` a picture of what one names.
Every picture is a function of its seed and number.
"""
