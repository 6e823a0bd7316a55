"""Benchmarks: one module a verb of `scripts/bench`, and what they share.

* `bringup`, `path`, `trace`: the verbs.
* `report`: samples, rows with ratios, the table and its JSON.
* `labs`: labs started with the real command line, in a run directory of their own.
* `floor`, `mininet_build`, `handmade`, `pingpong`: programs of their own, run beside the labs.
"""
