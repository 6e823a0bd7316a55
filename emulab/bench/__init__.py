"""What each hop costs: `emulab bench`, and what `scripts/bench` measures with.

Pure, without a clock or chance but what they are given:

* `estimates`: intervals by the bootstrap, of values, differences and ratios, and what can't be told from noise
* `turns`: in which order things are measured in a round, and after which round that is enough
* `histogram`: counts of values by HdrHistogram's method
* `arrivals`: when requests of an open model are due
* `ledger`: what each layer adds to the one below it, and whether the sum is the whole
* `figures`: measured values with goals, as a table and as JSON; `baseline`: which of them got worse
* `givingway`: which hop of a path gave way first
* `svg`, `html`: the report that opens without a network

Effects:

* `inside/`: the programs that run in a lab's places: who asks, and who answers. They import the standard library alone
* `agents`: who asks, as a lab runs it; `processors`: who runs where, and how much of it a lab has used
* `worlds`: the labs; `rounds`: measures by turns; `pathways`, `versus`, `overlays`, `loading`: the four benchmarks
* `hopwatch`: what the hops of a path tell of themselves, second by second
"""
