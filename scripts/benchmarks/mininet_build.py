"""Mininet building hosts on one Linux bridge: `mn --topo single,N --switch lxbr --controller none` up to the
moment where everything is started. Taking it down is left to the kernel: it runs in namespaces of its own.

Run by Debian's Python, which has Mininet.
"""

import os
import sys

from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo

network = Mininet(topo=SingleSwitchTopo(k=int(sys.argv[1])), switch=LinuxBridge, controller=None)
network.start()
print("started", flush=True)
os._exit(0)
