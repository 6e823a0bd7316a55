"""Whether somebody is well: how that is asked (`config`), found out (`checks`) and judged (`state`).

Balancers ask so of their targets, and name servers of what their records lead to.
"""
