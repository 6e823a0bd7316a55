"""What the kubelet tells of containers, in its own words: one place for the sentences that people search for. Pure.

They are those of pkg/kubelet: kuberuntime_container.go, kuberuntime_manager.go, prober/prober.go and events/event.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from emulab.kinds.core.podspec import Container
from emulab.model.collection import NORMAL, WARNING
from emulab.model.imagenames import INVALID


class Said(NamedTuple):
    reason: str
    message: str
    type: str = NORMAL


def created(name: str) -> Said:
    return Said("Created", f"Created container: {name}")


def started(name: str) -> Said:
    return Said("Started", f"Started container {name}")


def no_sandbox(why: str) -> Said:
    """The runtime can't make a pod's sandbox: its words behind the kubelet's."""
    desc = f"rpc error: code = Unknown desc = {why}"
    return Said("FailedCreatePodSandBox", f"Failed to create pod sandbox: {desc}", WARNING)


def network_unsound(why: str) -> Said:
    """What CHECK of a CNI plug-in says. A kubelet's runtime never asks."""
    return Said("NetworkCheckFailed", f"The pod's network isn't as it was made: {why}", WARNING)


def network_sound() -> Said:
    return Said("NetworkChecked", "The pod's network is as it was made again")


def not_started(error: Exception) -> Said:
    return Said("Failed", f"Error: {error}", WARNING)


def misconfigured(error: Exception) -> Said:
    """A container can't be made, as what it is to be told isn't there."""
    return Said("Failed", f"Error: {error}", WARNING)


def not_mounted(volume: str, error: Exception) -> Said:
    return Said("FailedMount", f'MountVolume.SetUp failed for volume "{volume}" : {error}', WARNING)


def not_processed(volumes: Mapping[str, str]) -> Said:
    """By volume, why it can't be found out what is behind it."""
    names, why = " ".join(volumes), ", ".join(volumes.values())
    what = f"unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[{names}]"
    return Said("FailedMount", f"Unable to attach or mount volumes: {what}: {why}", WARNING)


def no_group(volume: str) -> Said:
    """Of a lab of an ordinary user."""
    what = "a lab that root hasn't started has one group, so that every program may write there"
    return Said("NoFSGroup", f'fsGroup isn\'t set on volume "{volume}": {what}', WARNING)


def not_given(what: str) -> Said:
    """What a container's `securityContext` asks for, and it doesn't have here."""
    return Said("SecurityContext", what, WARNING)


def not_made(reason: str) -> Said:
    """A container waits, for this reason."""
    return Said("Failed", f"Error: {reason}", WARNING)


def image_present(image: str) -> Said:
    return Said(
        "Pulled",
        f"Container image {_quoted(image)} already present on machine and can be accessed by the pod",
    )


def pulling(image: str) -> Said:
    return Said("Pulling", f"Pulling image {_quoted(image)}")


def pulled(image: str, size: int) -> Said:
    """It was loaded: nobody waits for its octets."""
    what = (
        f"Successfully pulled image {_quoted(image)} in 0s (0s including waiting). Image size: {size} bytes."
    )
    return Said("Pulled", what)


def why_not_pulled(name: str) -> str:
    """What containerd says of an image that a registry doesn't have; here that is one that wasn't loaded."""
    why = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found'
    return f"rpc error: code = NotFound desc = {why}; no registry is asked: emulab image load ARCHIVE"


def not_pulled(image: str, why: str) -> Said:
    return Said("Failed", f"Failed to pull image {_quoted(image)}: {why}", WARNING)


def pull_put_off(image: str) -> Said:
    return Said("BackOff", f"Back-off pulling image {_quoted(image)}")


def never_pulled(image: str) -> Said:
    what = f"Container image {_quoted(image)} is not present with pull policy of Never"
    return Said("ErrImageNeverPull", what, WARNING)


def no_image_name(image: str) -> Said:
    what = f"Failed to apply default image tag {_quoted(image)}: couldn't parse image name {_quoted(image)}: {INVALID}"
    return Said("InspectFailed", what, WARNING)


def _quoted(text: str) -> str:
    """As Go's `%q`."""
    return json.dumps(text, ensure_ascii=False)


OOM_KILLED = "OOMKilled"
"""The reason of a container's end where the kernel had no memory for it: more than its limit, or its pod's."""

STARVED = "container init was OOM-killed (memory limit too low?)"
"""runc's words of a container that had no memory to begin with."""


def exited(name: str, status: int, last_words: str, reason: str = "") -> Said:
    """A program has ended badly. The kubelet tells that in the status alone, where nobody looks first."""
    said = f": {reason or last_words}" if reason or last_words else ""
    return Said("Exited", f"Container {name} ended with status {status}{said}", WARNING)


def hook_failed(hook: str, why: str) -> Said:
    """`hook`: `PostStart` or `PreStop`. Newer kubelets say no more than that it failed."""
    return Said(f"Failed{hook}Hook", f"{hook}Hook failed: {why}" if why else f"{hook}Hook failed", WARNING)


def not_greeted() -> Said:
    """A container is ended, as its hook behind the start has failed; that is all that the kubelet says of it."""
    return Said("Killing", "FailedPostStartHook")


def backing_off(name: str, pod: str) -> Said:
    return Said("BackOff", f"Back-off restarting failed container {name} in pod {pod}", WARNING)


def why_waiting(seconds: float, name: str, pod: str) -> str:
    """The message in the status of a container whose restart is put off."""
    return f"back-off {in_go(seconds)} restarting failed container={name} pod={pod}"


def stopping(name: str) -> Said:
    return Said("Killing", f"Stopping container {name}")


def changed(name: str, init: bool) -> Said:
    """It is ended as its definition has changed, to begin anew."""
    said = f"Container {name} definition changed"
    return Said(
        "Killing", f"Init container {name} definition changed" if init else f"{said}, will be restarted"
    )


def unwell(container: Container, probe: str, init: bool, restarted: bool) -> Said:
    """It is ended, as a probe of this kind says that it doesn't live."""
    if init:
        return Said("Killing", f"Init container {container.name} failed {probe.lower()} probe")
    more = ", will be restarted" if restarted else ""
    return Said("Killing", f"Container {container.name} failed {probe.lower()} probe{more}")


def probe_warning(probe: str, output: str) -> Said:
    return Said("ProbeWarning", f"{probe} probe warning: {output}", WARNING)


def deadline_exceeded() -> Said:
    return Said("DeadlineExceeded", "Pod was active on the node longer than specified deadline")


def unhealthy(probe: str, success: bool | None, output: str) -> Said:
    """A try of a probe has failed, or couldn't be made."""
    outcome = "failed" if success is False else "errored and resulted in unknown state"
    return Said("Unhealthy", f"{probe} probe {outcome}: {output}", WARNING)


def stood_in_for(name: str) -> Said:
    """A container's own program isn't here."""
    return Said("StandIn", f"{name} isn't on this host: a stand-in takes its place")


def without_program(name: str) -> Said:
    """A probe or hook asks for a program of the image, for which a stand-in answers."""
    return Said(
        "StandIn", f"{name} isn't on this host: what runs it passes, as a stand-in takes the image's place"
    )


def without_server(name: str) -> Said:
    """An exec probe or hook asks a server that is the image's alone."""
    return Said(
        "StandIn",
        f"{name} asks a server that only the image has: what runs it passes, as a stand-in takes its place",
    )


def in_go(seconds: float) -> str:
    """A time as Go writes it: `40s`, `1m20s`, `200ms`. What is left of seconds beside minutes is nobody's concern."""
    if 0 < seconds < 1:
        return f"{round(seconds * 1000, 3):g}ms"
    if seconds < 10:
        return f"{round(seconds, 3):g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
