"""HTTP/2 on the wire (RFC 9113). Sans-I/O.

Frames and HPACK are the library h2's; here is what has to be otherwise for a proxy, and what becomes of fields.

* `frames`: the two ends of a connection, as the library has them, and where it is corrected.
* `fields`: lists of fields ↔ the head of a message as HTTP/1.1 would have it.

Importing the library takes a while, and few clients speak HTTP/2: who needs `frames` imports it then.
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client begins with (section 3.4)."""
