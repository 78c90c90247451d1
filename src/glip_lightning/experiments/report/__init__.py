"""``glip report``: the results of a sweep or a folder of runs, as a page, tables and files."""
