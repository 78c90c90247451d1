"""Programs: the command ``glip``, one file per verb."""
