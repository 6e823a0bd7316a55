"""One module a verb: `configure(parser)` names its arguments, `run(options)` does it and returns the exit status."""
