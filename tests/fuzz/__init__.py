"""Fuzzers: hostile input that goes on for as long as one likes, and what must hold meanwhile.

A target is a module here with `run(random, going) -> int`: it sends inputs that it draws from `random` until
`going()` is false, and returns how many there were. What must not be is an AssertionError that shows the input.
The same seed gives the same inputs in the same order, so a finding is had again by its seed.

`test_fuzz` runs each target with a fixed seed and a bounded number of inputs; `scripts/fuzz TARGET --seconds N` runs
one for longer.
"""

TARGETS = {
    "http-requests": "fuzz.http_requests",  # the ingress, from the client's side
    "http-answers": "fuzz.http_answers",  # the ingress, from the backend's side
    "http2-frames": "fuzz.http2_frames",  # the ingress, from the side of a client of HTTP/2
    "http-stand-in": "fuzz.http_stand_in",  # the stand-in for images
    "dns": "fuzz.dns",  # the three kinds of DNS servers
    "control": "fuzz.control",  # the control socket of a lab
    "archives": "fuzz.archives",  # images that users load
    "manifests": "fuzz.manifests",  # what is read, checked and planned of YAML
}
"""Name → module."""
