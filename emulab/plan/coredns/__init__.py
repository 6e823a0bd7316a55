"""A user's Corefile: its text, what of it is followed, and what isn't. Pure.

`syntax` reads the text, `corefile` makes the configuration of it, block by block (`drafting`); a plug-in is a function
of `plugins` or of a module of its own.
"""
