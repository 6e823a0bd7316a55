"""Where a lab's files are, which labs there are, and sweeping up after dead ones (`rundir`).

`basedir`: how the folder of all labs and a lab's are known to be that; `lastlog`: what is kept of a crashed lab;
`private`: what of them is in memory, with `rooms`; `disk`: files on a disk that may be full, and the supervisor's own
log there.
"""
