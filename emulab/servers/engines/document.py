"""The table in `docs/ingress.md` of what each engine does. Pure."""

from __future__ import annotations

import inspect
from typing import get_args

from emulab.servers.engines.haproxy.balancing import BALANCES as HAPROXY_BALANCES
from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES
from emulab.servers.engines.nginx.balancing import BALANCES as NGINX_BALANCES
from emulab.servers.engines.nginx.filters import DIRECTIVES
from emulab.servers.l7.config import Balance, Filter


def engines_table() -> str:
    """Each kind of filter and of balancing, with who does it; the builtin engine does all."""
    rows = []
    for kinds, nginx, haproxy in (
        (get_args(Filter), DIRECTIVES, CFG_DIRECTIVES),
        (get_args(Balance), NGINX_BALANCES, HAPROXY_BALANCES),
    ):
        for kind in kinds:
            meaning = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            done = ["yes" if kind in table else "no" for table in (nginx, haproxy)]
            rows.append(f"| `{kind.__name__}` | {meaning} | {' | '.join(done)} |")
    return "\n".join(["| what | meaning | nginx | haproxy |", "| --- | --- | --- | --- |", *rows])
