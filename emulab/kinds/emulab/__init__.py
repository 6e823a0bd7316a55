"""emulab's own kinds.

Unlike in Kubernetes' kinds, an unknown field is an error here: each of these fields shapes the data plane,
and a misspelt `sourceRanges` would silently let everyone in.
"""
