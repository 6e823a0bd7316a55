"""What is done with a container after its start and before its end: pkg/kubelet/lifecycle/handlers.go."""

from __future__ import annotations

import asyncio

from emulab.errors import EmulabError
from emulab.kinds.core.probespec import Hook
from emulab.lab.kubelet import httpget
from emulab.lab.kubelet.probes import Aim
from emulab.model.kubernetes import VERSION

AGENT = f"kube-lifecycle/{VERSION}"
_ANSWER = 3600.0  # seconds; who waits for a hook says for how long


async def run(hook: Hook, aim: Aim) -> str:
    """Does what a hook says; why it failed, or "". Any answer to its GET will do, whatever the status."""
    try:
        if hook.command is not None:
            status, output = await aim.run_command(hook.command)
            words = " ".join(hook.command)
            why = f"command '{words}' exited with {status}: {output}".removesuffix("\n")
            return why.removesuffix(": ") if status else ""
        if hook.http is not None:
            port = aim.port_of(hook.http.port)
            if port is None:
                return f"couldn't find port: {hook.http.port}"
            answer = await httpget.get(hook.http, aim.address, port, aim.node_fd, _ANSWER, AGENT)
            return answer.why
        if hook.sleep is not None:
            await asyncio.sleep(hook.sleep)
            return ""
    except (EmulabError, OSError) as error:
        return str(error)
    return "" if not hook.tcp else "invalid handler: tcpSocket"
