"""What carries the engine: sockets, TLS, time and the event loop. Nothing is decided here that a client could see."""
