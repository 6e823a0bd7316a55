"""The kinds of apps/v1: workloads."""
