"""A user's Corefile: its text, what of it is followed, and what isn't. Pure.

`syntax` reads the text, `corefile` makes the configuration of it, a plug-in a function of `plugins` or of `following`.
"""
