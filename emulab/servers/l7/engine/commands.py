"""What a machine asks of its shell, as values: pairs of a word and what belongs to the word. Pure.

What every request needs, and is nothing but bytes, a machine returns from the event: `Exchange.connected` and `answer`.
All else it appends to its list of commands, and the shell carries them out in this order. What happens while it does
(a transport that is full, say) is an event like any other: its commands come after those that are there.
"""

from __future__ import annotations

from typing import Any

Command = tuple[str, Any]

# To the client.
SEND = "send"  # bytes
READ = "read"  # whether to read what the client sends
END = "end"  # our side of the connection, None: the client's goes on
CLOSE = "close"  # the connection, once all that was sent is out, None
ABORT = "abort"  # the connection at once, None
PACE = "pace"  # `Exchange.go_on_sending` is wanted in so many seconds
HTTP2 = "http2"  # the connection goes on in HTTP/2, of which these bytes have come
SETTLE = "settle"  # `Connection.settle` is wanted in the loop's next turn, None

# To the upstream.
SELECT = "select"  # an address: a kept connection to it; the answer is `connected` or `vacant`
OPEN = "open"
"""An address and how long it may take: a fresh connection; the answer is `connected` or `refused`."""
WAIT = "wait"  # a `balance.limits.QueuedRequest`, whose `wake` the shell sets: then it calls `woken`
WAKE = "wake"  # what is to be called in the loop's next turn: somebody else's `wake`
FORWARD = "forward"  # bytes
DRAIN = "drain"  # whether to read what the upstream sends
RELEASE = "release"  # the connection can carry another request; the time
DROP = "drop"  # the connection, or the way to one, has no use any more, None

# To the world outside.
MIRROR = "mirror"  # `aside.MirroredRequest`: a request that is made besides, and whose answer nobody reads
ASK = "ask"  # a question of `questions`; the answer is `told`
UNASK = "unask"  # nobody waits for the answer any more, None

# To both.
TUNNEL = "tunnel"  # bytes go through from now on, whatever they mean; seconds of silence that end it

# To whom it may concern.
TELL = "tell"  # a record
LOG = "log"  # a line of the access log
