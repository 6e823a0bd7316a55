"""A path as people read it, and the texts that need care on their way to a terminal. Pure."""
