"""``glip report``: what a sweep or a folder of runs has reached, as a page, as tables and for the leaderboard."""
