"""What descriptions say of containers. Pure."""

from __future__ import annotations

from emulab.kinds.cells import NONE, Raw
from emulab.kinds.core.podspec import Container, PodImage, asked_program
from emulab.kinds.core.qos import resources_of
from emulab.kinds.fields import Fields, pairs
from emulab.kinds.standins import sockets_of


def container_fields(
    c: Raw, status: Raw, stand_in: bool = False, image: PodImage | None = None, pod: Raw | None = None
) -> Fields:
    """`stand_in`: its command isn't run. `image`: the one that it runs. `pod`: its Pod, where there is one."""
    fields: Fields = [("Image", str(c.get("image") or NONE))]
    if status.get("imageID"):
        fields.append(("Image ID", str(status["imageID"])))
    ports = [f"{p['containerPort']}/{p.get('protocol') or 'TCP'}" + _named(p) for p in c.get("ports") or ()]
    fields.append(("Ports", ports))
    command = [str(word) for word in (image.command(c) if image else asked_program(c))]
    played = _played(c, pod or {}) if not image and (stand_in or not command) else ""
    if played:
        command += [*([] if command else map(str, c.get("args") or ())), played]
    elif stand_in:
        command.append("(isn't run: emulab's stand-in)")
    elif not command and c.get("args"):
        command.append("(emulab's stand-in: args are those of the image's program, and not heeded)")
    fields.append(("Command", command or ["(emulab's stand-in)"]))
    fields += _state("State", status.get("state") or {})
    fields += _state("Last State", status.get("lastState") or {})
    if status:
        fields.append(("Ready", str(bool(status.get("ready")))))
        fields.append(("Restart Count", str(status.get("restartCount", 0))))
    for which in ("limits", "requests"):
        if amounts := resources_of(c).get(which):
            fields.append((which.title(), pairs(amounts, ": ")))
    for kind in ("liveness", "readiness", "startup"):
        if c.get(f"{kind}Probe"):
            fields.append((kind.title(), probe_text(c[f"{kind}Probe"])))
    if c.get("envFrom"):
        fields.append(("Environment Variables from", [_variables_from(e) for e in c["envFrom"]]))
    if c.get("env"):
        fields.append(("Environment", [f"{e['name']}: {_environment(e)}" for e in c["env"]]))
    if c.get("volumeMounts"):
        fields.append(
            ("Mounts", [_mount(m) for m in sorted(c["volumeMounts"], key=lambda m: m["mountPath"])])
        )
    return fields


def _mount(mount: Raw) -> str:
    """`/etc/web from config (ro,path="web.conf")`"""
    below = mount.get("subPath") or mount.get("subPathExpr")
    flags = ("ro" if mount.get("readOnly") else "rw") + (f',path="{below}"' if below else "")
    return f"{mount['mountPath']} from {mount['name']} ({flags})"


def _variables_from(entry: Raw) -> str:
    """`settings  ConfigMap with prefix 'P_'  Optional: false`"""
    kind = "ConfigMap" if entry.get("configMapRef") else "Secret"
    reference = entry.get("configMapRef") or entry.get("secretRef") or {}
    prefix = f" with prefix '{entry['prefix']}'" if entry.get("prefix") else ""
    return (
        f"{reference.get('name')}  {kind}{prefix}  Optional: {str(bool(reference.get('optional'))).lower()}"
    )


def volume_fields(volume: Raw) -> Fields:
    """What a volume is, and what it says of itself."""
    kind = next((field for field in volume if field != "name"), "emptyDir")
    own = volume.get(kind) or {}
    told = [(str(k), str(v)) for k, v in own.items() if isinstance(v, str | int | float)]
    return [("Type", kind), *told]


def _played(c: Raw, pod: Raw) -> str:
    """What a stand-in does that plays the program of the container's image; "" of one that plays none."""
    sockets = sockets_of(Container.of(c), pod)
    if sockets is None:
        return ""
    where = ", ".join(f"{number}/{protocol}" for protocol, number in sockets) or "no port"
    return f"(emulab's stand-in plays it, and listens on {where})"


def _named(port: Raw) -> str:
    return f" ({port['name']})" if port.get("name") else ""


def _state(label: str, state: Raw) -> Fields:
    for name, detail in state.items():
        more = [f"{k}: {v}" for k, v in (detail or {}).items() if v not in ("", None)]
        return [(label, [name.title(), *(f"  {text}" for text in more)])]
    return []


def _environment(entry: Raw) -> str:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    kind, reference = next(iter(source.items()))
    path = (
        reference.get("fieldPath")
        or reference.get("resource")
        or f"{reference.get('name')}/{reference.get('key')}"
    )
    return f"<{kind} {path}>"


def probe_text(probe: Raw) -> str:
    """`http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3`"""
    if probe.get("httpGet"):
        get = probe["httpGet"]
        host, port, path = get.get("host") or "", get.get("port"), get.get("path") or "/"
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        what = f"http-get {(get.get('scheme') or 'HTTP').lower()}://{at}{path}"
    elif probe.get("exec"):
        what = f"exec {probe['exec'].get('command')}"
    elif probe.get("grpc"):
        what = f"grpc <pod>:{probe['grpc'].get('port')} {probe['grpc'].get('service') or ''}".rstrip()
    else:
        tcp = probe.get("tcpSocket") or {}
        what = f"tcp-socket {tcp.get('host') or ''}:{tcp.get('port')}"
    return (
        f"{what} delay={probe.get('initialDelaySeconds') or 0}s timeout={probe.get('timeoutSeconds') or 1}s"
        f" period={probe.get('periodSeconds') or 10}s #success={probe.get('successThreshold') or 1}"
        f" #failure={probe.get('failureThreshold') or 3}"
    )
