"""Logs: one process reads what all containers and servers of a lab print, and keeps it in files of bounded size.

`files` is one log, `keeper` the process. The supervisor's side is `lab.logs`.
"""
