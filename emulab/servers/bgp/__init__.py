"""BGP: what a speaker is told, a node or the router (`config`). Who speaks it is a real program: `engines.bird`."""
