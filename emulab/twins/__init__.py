"""Twins: the same lab once for each proxy mode, or ingress, side by side, asked the same; and what differs.

* `axes`         what the labs differ in, a line for each option of `compare`. Pure
* `asks`         what is asked from where; `deriving` finds it in manifests. Pure
* `asking`       one try of one request: what came of it, down to the kind of refusal
* `sampling`     all requests of one lab, often enough to tell chance from behaviour
* `owners`       whose an address is, so that labs can be compared
* `spread`       the statistics: chi-square, and what may be chance. Pure
* `comparing`    what differs between modes. Pure; `differences` are the known ones, each with its reason
* `counting`     how many rules a node has
* `running`      builds the labs, asks, and takes them down whatever happens
"""
