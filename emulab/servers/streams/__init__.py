"""TCP connections with the methods of asyncio's transports, watched by an epoll(7) set of our own instead of a loop's.

A protocol notices no difference but these:

* What is written goes to the kernel at once, and a connection is closed at once when all of it has gone, as nginx does:
  whoever was told `Connection: close` finds the end right behind the answer, and so it is we who wait in TIME_WAIT.
* Over TLS, closing sends `close_notify` and doesn't wait for the other side's.
* A read takes as much as one before it has had, so small messages don't cost a large buffer.

An event loop's transport costs calls and objects for each event; here a turn of the loop serves all that is ready, and
what it has to send goes out at its end (`EpollSet.at_end`).
"""
