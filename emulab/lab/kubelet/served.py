"""A container for which a server stands: a stand-in, which many share, or a server that is the pod's own.

It lives as long as the server is up; what would end a program begins another life of it. Pure.
"""

from __future__ import annotations

from emulab.kinds.core.podspec import Container
from emulab.kinds.core.restarts import RestartPolicy
from emulab.lab.kubelet.backoff import Backoff
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.model.objects import Object
from emulab.plan.standins import is_standin

ENDED_BY = 143  # what a program ends with that SIGTERM ends


def is_run_to_its_end(pod: Object) -> bool:
    """Whether a Pod is there to end well: a Job's. A stand-in has nothing to do there."""
    owners = pod.metadata.get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("kind") == "Job" for owner in owners)


def ends_at_once(pod: Object, container: Container) -> bool:
    """Whether a container is a stand-in that has nothing to do. A sidecar has: it stays beside those that do."""
    sidecars = pod.spec.get("initContainers") or ()
    stays = any(c["name"] == container.name and c.get("restartPolicy") == "Always" for c in sidecars)
    return is_run_to_its_end(pod) and is_standin(container) and not stays


class Served:
    """`held`: it doesn't live although its server is up, as it is being ended, put off, or greeted by its hook."""

    def __init__(
        self,
        container: Container,
        server: str,
        shared: bool,
        known: int = 0,
        state: ContainerState | None = None,
    ) -> None:
        """`known`: the restarts of the server before. `state`: that of its lives before."""
        self.state = state or ContainerState(container.name, container.image)
        self.server = server
        self.held = False
        self.is_silent = False  # nobody answers for it, as its life has been ended
        self.shared = shared  # with other containers, of other pods, too
        self.begun = 0.0  # seconds of the loop's clock
        self._container = container
        self._known = None if shared else known  # restarts of the server, as far as they are counted
        self._backoff = Backoff()
        self._put_off = 0  # a restart that is still to come

    def count(self, restarts: int, exit_status: int | None, now: str) -> bool:
        """Counts the restarts of the server since the pod began: whether there were any, by which a life has ended."""
        if self._known is None:
            self._known = restarts
        if restarts <= self._known:
            return False
        more, self._known = restarts - self._known, restarts
        if self.state.done:
            return False
        self.resume()  # it did begin since, and has ended again
        self.state.restarts += more
        if not self.state.running:  # it ended as soon as it had begun
            self.state.begin(now)
        self.state.ended(exit_status or 0, now)
        return True

    def put_off(self) -> None:
        """It is begun again only after a while: until then that is no restart (kubelet's `restartCount`)."""
        self.state.restarts, self._put_off = self.state.restarts - 1, 1

    def resume(self) -> None:
        """It begins again, if it was put off."""
        self.state.restarts, self._put_off = self.state.restarts + self._put_off, 0

    def overlook(self, restarts: int) -> None:
        """The container doesn't live now, so none of these ends is one of its own."""
        self._known = restarts

    def expect_end(self) -> None:
        """Its own server is about to be ended, and started again: that is not counted as a restart of the server's."""
        if self._known is not None:
            self._known += 1

    def begin(self, now: str) -> None:
        """It has begun to stand for the container, or does so anew."""
        self.held = False
        self.state.begin(now)
        self.state.started = self._container.startup is None
        self.state.ready = self._container.readiness is None and self._container.startup is None

    def complete(self, now: str) -> None:
        """It has done what its container had to do, at once."""
        self.held = True
        self.state.begin(now)
        self.state.ended(0, now)
        self.state.done = True

    def finish(self, now: str) -> None:
        """It has been ended for good, with its Pod's work."""
        self.held = True
        self.state.ended(0, now)
        self.state.done = True

    def end(self, now: str, policy: RestartPolicy, lived: float, status: int = ENDED_BY) -> float | None:
        """It has been ended after so many seconds; those until it may live again, None where its policy says never."""
        self.state.ended(status, now)
        if not policy.restarts(status):
            self.state.done = True
            return None
        return self._backoff.after(lived)
