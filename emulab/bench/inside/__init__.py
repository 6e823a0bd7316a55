"""Programs that run in a lab's places and pods. They import the standard library alone, and each other.

A pod may not see the folder that emulab is in, so a program is given its text (`bundle` in `emulab.bench.agents`).

* `answers`: reads answers of HTTP/1.1 as they come
* `wires`: connections that carry one request at a time, over an epoll, with or without TLS
* `asker`: who asks: reads orders, one a line, and says what came of each; `single`, `closed`, `opened` are its ways
* `answerer`: who answers, always the same
"""
