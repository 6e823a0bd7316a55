"""One traced request: `sending` sends it (`certificates`: what a client looks at in one), `evidence` reads what was
seen of it, `tracing` joins both into a path."""
