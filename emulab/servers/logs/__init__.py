"""Logs: one process reads what all containers and servers of a lab print, and keeps it in files of bounded size.

`files` is one log, `marks` when what stands in it came, `keeper` the process. The supervisor's side is `lab.logs`.
"""
