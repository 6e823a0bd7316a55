"""A client's connection over HTTP/2: many requests at once, each of them an exchange. Events in, commands out.

* `connection`: frames in and out, which streams there are, the end. `bounds`: what a client may ask of us.
* `stream`: the client's side of one exchange, and frames of what that writes. `exchange`: what is its own;
  `heads`: requests read as those of HTTP/1.1.
"""
