"""The typed views of what the kubelet does with a container: probes and hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class HTTPGet:
    path: str
    port: int | str
    host: str
    scheme: str  # HTTP | HTTPS
    headers: tuple[tuple[str, str], ...]

    @staticmethod
    def of(action: Mapping[str, Any]) -> HTTPGet:
        return HTTPGet(
            path=action.get("path") or "/",
            port=action["port"],
            host=action.get("host") or "",
            scheme=action.get("scheme") or "HTTP",
            headers=tuple((h["name"], h.get("value") or "") for h in action.get("httpHeaders") or ()),
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe. Exactly one of `http`, `tcp_port`, `command`, `grpc_port` is set. Times are in seconds."""

    http: HTTPGet | None
    tcp_port: int | str | None
    command: tuple[str, ...] | None
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int
    tcp_host: str = ""
    grpc_port: int | None = None
    grpc_service: str = ""
    grace: int | None = None  # its own terminationGracePeriodSeconds (KEP-2238)

    @staticmethod
    def of(probe: Mapping[str, Any] | None) -> Probe | None:
        """The view of a container's probe, or None where there is none."""
        if not probe:
            return None
        http, tcp, grpc = probe.get("httpGet"), probe.get("tcpSocket") or {}, probe.get("grpc") or {}
        command = (probe.get("exec") or {}).get("command")
        return Probe(
            http=HTTPGet.of(http) if http else None,
            tcp_port=tcp.get("port"),
            command=tuple(command) if command else None,
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            success_threshold=probe.get("successThreshold") or 1,
            failure_threshold=probe.get("failureThreshold") or 3,
            tcp_host=tcp.get("host") or "",
            grpc_port=grpc.get("port"),
            grpc_service=grpc.get("service") or "",
            grace=probe.get("terminationGracePeriodSeconds"),
        )

    @property
    def port(self) -> int | str | None:
        """The port that it asks, by number or name; None of a command."""
        if self.http is not None:
            return self.http.port
        return self.tcp_port if self.tcp_port is not None else self.grpc_port

    @property
    def host(self) -> str:
        """The host that it asks where that isn't the Pod."""
        return self.http.host if self.http is not None else self.tcp_host


@dataclass(frozen=True, slots=True)
class Hook:
    """What is done after a container's start or before its end. One of the fields is set.

    `tcpSocket` is accepted by the API and never followed: "There is no validation of this field and lifecycle hooks
    will fail at runtime when it is specified" (core/v1, `LifecycleHandler`).
    """

    command: tuple[str, ...] | None = None
    http: HTTPGet | None = None
    sleep: float | None = None  # seconds (KEP-3960)
    tcp: bool = False

    @staticmethod
    def of(handler: Mapping[str, Any] | None) -> Hook | None:
        """The view of `lifecycle.preStop` or `lifecycle.postStart`, or None where there is none."""
        if not handler:
            return None
        http, seconds = handler.get("httpGet"), (handler.get("sleep") or {}).get("seconds")
        command = (handler.get("exec") or {}).get("command")
        return Hook(
            command=tuple(command) if command else None,
            http=HTTPGet.of(http) if http else None,
            sleep=None if seconds is None else float(seconds),
            tcp="tcpSocket" in handler,
        )
