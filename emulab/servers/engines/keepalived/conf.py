"""keepalived.conf (keepalived.conf(5)), and what keepalived says of its state. Pure."""

from __future__ import annotations

import re

from emulab.servers.vrrp.config import VrrpConfig
from emulab.servers.vrrp.machine import ACTIVE, FAULT, STANDBY

FOLDER = "/etc/keepalived"
CONF = f"{FOLDER}/keepalived.conf"
RUN = f"{FOLDER}/run"
NOTIFY = f"{RUN}/notify"
COMMAND = (
    *("keepalived", "--vrrp", "--dont-fork", "--log-console", "--no-syslog", "--use-file", CONF),
    *("--pid", f"{RUN}/keepalived.pid", "--vrrp_pid", f"{RUN}/vrrp.pid"),
)
TEST = ("keepalived", "--config-test", "--use-file", CONF)

_STATES = {"MASTER": ACTIVE, "BACKUP": STANDBY, "FAULT": FAULT, "STOP": STANDBY, "DELETED": STANDBY}
_SAID = re.compile(r'INSTANCE "(?P<name>[^"]*)" (?P<state>\w+) (?P<priority>\d+)')
_BITS = {4: 32, 6: 128}


def keepalived_conf(config: VrrpConfig) -> str:
    """The text of keepalived.conf. Both nodes begin as BACKUP, as nopreempt asks for; the higher priority wins."""
    lines = [
        "global_defs {",
        f"    router_id {config.name}",
        f"    vrrp_notify_fifo {NOTIFY}",
        "}",
        "",
        f"vrrp_instance {config.name} {{",
        f"    version {config.version}",
        "    state BACKUP",
        f"    interface {config.link}",
        f"    virtual_router_id {config.identifier}",
        f"    priority {config.priority}",
        f"    advert_int {config.interval:g}",
        *(["    nopreempt"] if not config.preempt else []),
        f"    mcast_src_ip {config.own}",
        "    garp_master_delay 1",
        *_block("virtual_ipaddress", config.addresses, config.link),
        *_block("virtual_ipaddress_excluded", config.along, config.link),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _block(name: str, addresses: tuple[str, ...], link: str) -> list[str]:
    if not addresses:
        return []
    rows = [f"        {one}/{_BITS[6 if ':' in one else 4]} dev {link}" for one in addresses]
    return [f"    {name} {{", *rows, "    }"]


def state_said(line: str) -> tuple[str, str] | None:
    """The instance and its state that a line of the notify FIFO tells of."""
    found = _SAID.match(line)
    if found is None or found["state"] not in _STATES:
        return None
    return found["name"], _STATES[found["state"]]
