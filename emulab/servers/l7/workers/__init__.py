"""A proxy of several processes, as nginx has workers (`L7Config.workers`).

    first process   is told by the supervisor, has the sockets, starts and watches the workers, answers pages
    worker          a fork of it: a proxy of its own (`l7.shell.server`) at sockets of its own

Rules:

* Each worker has a listening socket of its own for each address (SO_REUSEPORT): the kernel spreads connections over
  them. The first process keeps all of them, so that those who come while a worker is started again wait for it.
* What one of a kind alone can say (counters, metrics, records) is asked of all and put together here. What a worker had
  counted that ended counts as of the last time that somebody asked.
* What is known of clients and servers from one request to the next is each worker's own: limits, what servers take.
  nginx shares its zones; here a limit of N a second is N for each worker.
* Who fails is known to all: a worker tells the first process of failures that outlier detection counts, and of the
  success that ends them, and that one the others.
* A worker that ends is started again; one that doesn't answer is killed. It ends when the first process does.

`listeners`: sockets beside one that is there. `process`: a worker, as the first process drives it. `server`: the first
process. `gathering`: what several say, as one.
"""
