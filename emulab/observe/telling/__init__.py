"""A path as people read it, and the texts that need care on their way to a terminal. Pure.

* `ladder`      all of it; `folding`: what of it is one line
* `timespans`   microseconds, and what a request's time went to
* `texts`, `escapes`   texts fitted into columns, and without what a terminal would obey
"""
