"""Heads of requests and responses at the proxy: what is read of them, and how they are written anew. Sans-I/O."""
