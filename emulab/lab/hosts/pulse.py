"""Whether a server that doesn't answer hangs, or only has no time. Pure but for `look`.

Time on the clock proves nothing: the machine may have stood still, or have had no time for the server. So what counts
is the time in which the server could have answered and didn't:

* while it is runnable, the time that it ran (it goes round in a loop; on a busy machine that takes longer to show);
* while it sleeps or is stopped, the time that passed for us, at most a tick's for each tick that we saw ourselves,
  without what the server waited for a processor;
* while the kernel has it wait for a device, none: it can't even be killed then.
"""

from __future__ import annotations

from pathlib import Path

from emulab.dataclass import dataclass

TICK = 1.0
"""Seconds between two looks at a server."""
PATIENCE = 10.0
"""Seconds of silence after which a server hangs: more than what any work of one turn of its loop takes."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the kernel says of a process: its state (a letter, proc(5)), seconds that it ran and waited to run."""

    state: str
    ran: float
    waited: float


@dataclass(slots=True)
class Silence:
    """How long a server has been able to answer a question, and hasn't."""

    seconds: float = 0.0
    before: Sight | None = None

    def tick(self, elapsed: float, sight: Sight | None) -> None:
        """Takes in a look at the server, `elapsed` seconds after the one before."""
        before, self.before = self.before, sight
        if before is None or sight is None or sight.state == "D":
            return
        if sight.state == "R":
            self.seconds += sight.ran - before.ran
        else:
            self.seconds += max(0.0, min(elapsed, TICK) - (sight.waited - before.waited))

    @property
    def stopped(self) -> bool:
        """Whether the server was last seen stopped, by a signal or a debugger."""
        return self.before is not None and self.before.state in "Tt"


def look(pid: int) -> Sight | None:
    """What the kernel says of a process (`pid` as the host sees it); None when it is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        ran, waited, *_ = map(int, Path(f"/proc/{pid}/schedstat").read_text().split())
    except (OSError, ValueError, IndexError):
        return None
    return Sight(state, ran / 1e9, waited / 1e9)
