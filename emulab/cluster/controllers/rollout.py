"""How many replicas each ReplicaSet of one Deployment shall have.

The rules of pkg/controller/deployment (rolling.go, recreate.go, sync.go):

* never more than `replicas + maxSurge` Pods asked for, all ReplicaSets together;
* never fewer than `replicas - maxUnavailable` available ones; Pods that are not available go first;
* a change of `replicas` during a rollout is shared out in proportion, by what the annotations
  `desired-replicas` and `max-replicas` say was wanted before.

Replicas that a ReplicaSet shall no longer have don't count as available, even while their Pods live: with
that, several steps can be taken in one call.
"""

from __future__ import annotations

from math import floor

from emulab.cluster.controllers import telling
from emulab.cluster.controllers.pods import count, has_ended, replicas_asked, share
from emulab.cluster.controllers.world import WorkingCopy, owner_uid, uid
from emulab.dataclass import dataclass, field
from emulab.kinds.apps.workloadview import Workload
from emulab.kinds.registry import POD, REPLICA_SET
from emulab.model.keys import Key
from emulab.model.objects import Object

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
REVISION = "deployment.kubernetes.io/revision"
_DIGITS = 20  # of numbers that are meant


@dataclass
class DeploymentRollout:
    """One Deployment and its ReplicaSets, as they are in the working copy at the moment of asking."""

    world: WorkingCopy
    deployment: Object
    hash: str  # of the present template
    new_key: Key  # of the ReplicaSet that has it, or shall have it
    want: Workload = field(init=False)
    surge: int = field(init=False)
    unavailable: int = field(init=False)
    refused: str = ""  # what an API server has against the ReplicaSet of the present template

    def __post_init__(self) -> None:
        self.want = Workload.of(self.deployment)
        total = self.want.replicas
        rolling = self.want.strategy != "Recreate"
        self.surge = share(self.want.max_surge, total, up=True) if rolling else 0
        self.unavailable = share(self.want.max_unavailable, total, up=False) if rolling else 0
        if rolling and not self.surge and not self.unavailable:
            self.unavailable = 1  # a percentage may round to nothing; a rollout must still be able to move
        self.unavailable = min(self.unavailable, total)

    @property
    def new(self) -> Object | None:
        """The ReplicaSet of the present template."""
        rs = self.world.get(self.new_key)
        return rs if rs is not None and owner_uid(rs) == uid(self.deployment) else None

    def sets(self) -> list[Object]:
        """All ReplicaSets of the Deployment, the oldest first."""
        sets = self.world.owned(self.deployment, REPLICA_SET)
        return sorted(sets, key=_by_age) if len(sets) > 1 else sets

    def olds(self) -> list[Object]:
        return [rs for rs in self.sets() if rs.key != self.new_key]

    def size_annotations(self) -> dict[str, str]:
        """What a ReplicaSet remembers of the Deployment's size, to see later that it changed."""
        return {DESIRED: str(self.want.replicas), MAXIMUM: str(self.want.replicas + self.surge)}

    def scale(self, rs: Object, replicas: int) -> None:
        sizes = self.size_annotations()
        if replicas == replicas_asked(rs) and sizes.items() <= rs.annotations.items():
            return
        metadata = {**rs.metadata, "annotations": {**rs.annotations, **sizes}}
        if replicas != replicas_asked(rs):
            telling.scaled(self.world, self.deployment, rs, replicas_asked(rs), replicas)
        self.world.put(rs.replace(metadata=metadata, spec={**rs.spec, "replicas": replicas}))

    def available(self, rs: Object) -> int:
        """The available Pods that the ReplicaSet will still have when it has its size."""
        return min(count(self.world, rs).available, replicas_asked(rs))


def revision(rs: Object) -> int:
    return _number(rs.annotations.get(REVISION, ""))


def _number(text: str) -> int:
    """What an annotation counts, which users can write, too; 0 where it doesn't count anything."""
    return int(text) if text.isdecimal() and len(text) < _DIGITS else 0


def rolling_update(plan: DeploymentRollout) -> None:
    """Grows the new ReplicaSet and shrinks the old ones, as far as surge and availability allow."""
    fill(plan)
    new = plan.new
    olds = [rs for rs in plan.olds() if replicas_asked(rs)]
    if new is None or not olds:
        return
    least = plan.want.replicas - plan.unavailable
    total = sum(replicas_asked(rs) for rs in plan.sets())
    missing = replicas_asked(new) - plan.available(new)
    room = total - least - missing  # what may go without fewer than `least` ever being available
    if room <= 0:
        return
    for rs in olds:  # first what serves nobody
        useless = min(replicas_asked(rs) - plan.available(rs), room)
        if useless > 0:
            room -= useless
            plan.scale(rs, replicas_asked(rs) - useless)
    spare = sum(plan.available(rs) for rs in plan.sets()) - least
    for rs in (rs for rs in plan.olds() if replicas_asked(rs)):
        fewer = min(replicas_asked(rs), spare)
        if fewer > 0:
            spare -= fewer
            plan.scale(rs, replicas_asked(rs) - fewer)


def fill(plan: DeploymentRollout) -> None:
    """Brings the new ReplicaSet to the Deployment's size, within the surge that the old ones leave."""
    new = plan.new
    if new is None:
        return
    size, total = replicas_asked(new), sum(replicas_asked(rs) for rs in plan.sets())
    if plan.want.strategy == "Recreate" or size > plan.want.replicas:
        wanted = plan.want.replicas
    else:
        wanted = size + max(0, min(plan.want.replicas + plan.surge - total, plan.want.replicas - size))
    plan.scale(new, wanted)


def recreate(plan: DeploymentRollout) -> bool:
    """Empties the old ReplicaSets; whether their last Pod is gone, ending ones included."""
    running = False
    for rs in plan.olds():
        running = running or any(not has_ended(pod) for pod in plan.world.owned(rs, POD))
        if replicas_asked(rs):
            plan.scale(rs, 0)
    return not running


def was_resized(plan: DeploymentRollout) -> bool:
    """Whether `replicas` changed since the ReplicaSets were last scaled (`isScalingEvent`)."""
    wanted = str(plan.want.replicas)
    return any(rs.annotations.get(DESIRED, wanted) != wanted for rs in plan.sets() if replicas_asked(rs))


def resize(plan: DeploymentRollout) -> None:
    """Follows a change of `replicas` without going on with the rollout (`scale` of sync.go)."""
    active = [rs for rs in plan.sets() if replicas_asked(rs)]
    if len(active) <= 1:
        for rs in active or ([plan.new] if plan.new else plan.sets()[-1:]):
            plan.scale(rs, plan.want.replicas)
        return
    if plan.new is not None and _is_saturated(plan, plan.new):
        for rs in plan.olds():
            if replicas_asked(rs):
                plan.scale(rs, 0)
    elif plan.want.strategy != "Recreate":
        _share_out(plan, active)


def _is_saturated(plan: DeploymentRollout, new: Object) -> bool:
    wanted = plan.want.replicas
    return (
        replicas_asked(new) == wanted
        and new.annotations.get(DESIRED) == str(wanted)
        and count(plan.world, new).available == wanted
    )


def _share_out(plan: DeploymentRollout, active: list[Object]) -> None:
    """Adds or takes replicas in proportion to the sizes, the largest first, which takes the rest too."""
    limit = plan.want.replicas + plan.surge if plan.want.replicas else 0
    change = limit - sum(replicas_asked(rs) for rs in active)
    if change > 0:
        active = active[::-1]  # of equal sizes the newer one grows, the older one shrinks
    active = sorted(active, key=lambda rs: -replicas_asked(rs))
    sizes, given = [], 0
    for rs in active:
        size, rest = replicas_asked(rs), change - given
        part = _fraction(plan, rs)
        part = min(part, rest) if change > 0 else max(part, rest)
        part = part if change and rest else 0
        sizes.append(size + part)
        given += part
    if change:
        sizes[0] = max(0, sizes[0] + change - given)
    for rs, size in zip(active, sizes, strict=True):
        plan.scale(rs, size)


def _fraction(plan: DeploymentRollout, rs: Object) -> int:
    """What the ReplicaSet gains or loses when the whole goes from its old limit to its new one."""
    size = replicas_asked(rs)
    if plan.want.replicas == 0:
        return -size
    limit = _number(rs.annotations.get(MAXIMUM, "")) or int(plan.deployment.status.get("replicas") or size)
    return floor(size * (plan.want.replicas + plan.surge) / limit + 0.5) - size


def _by_age(rs: Object) -> tuple[object, ...]:
    created = rs.metadata.get("creationTimestamp")
    return (created is None, str(created), revision(rs), uid(rs))
