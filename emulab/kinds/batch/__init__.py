"""The kinds of batch/v1: Pods that are run to their end."""
