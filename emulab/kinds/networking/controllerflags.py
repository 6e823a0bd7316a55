"""The flags of ingress-nginx' controller: what each asks for, and which of them mean something here.

The table is that of pkg/flags/flags.go. A flag is *followed*, by the field of `ControllerFlags` that it sets, or has
nothing to be followed *by nature* (who is the leader: nothing that a client could tell), or is
*not followed*, with what is missing. Words are read as pflag reads them: `--flag=value`, `--flag value`, and
`--flag` alone for one that is true or false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from emulab.dataclass import dataclass
from emulab.kinds.core.expansion import expand
from emulab.kinds.installed import CONTROLLER, INGRESS_CLASS_NAME
from emulab.kinds.networking.flagvalues import (
    address,
    boolean,
    duration,
    integer,
    names,
    negated,
    number,
    numbers,
    port,
    selector,
)

ANNOTATIONS_PREFIX = "nginx.ingress.kubernetes.io"
"""What the annotations' names begin with, where no flag says otherwise."""


@dataclass(frozen=True, slots=True)
class ControllerFlags:
    """What a controller does; the defaults are those of flags.go. Objects are named `NAMESPACE/NAME`, "" for none."""

    controller_class: str = CONTROLLER
    ingress_class: str = INGRESS_CLASS_NAME  # of the annotation
    class_by_name: bool = False
    without_class: bool = False
    watch_namespace: str = ""
    namespace_selector: str = ""
    catch_all: bool = True
    external_names: bool = True
    annotations_prefix: str = ANNOTATIONS_PREFIX
    deep_inspect: bool = True
    config_map: str = ""
    default_backend: str = ""
    default_certificate: str = ""
    tcp_services: str = ""
    udp_services: str = ""
    update_status: bool = True
    sync_events: bool = True
    publish_service: str = ""
    publish_addresses: str = ""
    http_port: int = 80
    https_port: int = 443
    healthz_port: int = 10254
    health_path: str = "/healthz"
    webhook: str = ""
    metrics: bool = False
    metrics_per_host: bool = True
    metrics_per_undefined_host: bool = False
    status_classes: bool = False
    time_buckets: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    length_buckets: tuple[float, ...] = tuple(10.0 * n for n in range(1, 11))
    size_buckets: tuple[float, ...] = tuple(10.0**n for n in range(1, 8))
    excluded_metrics: tuple[str, ...] = ()

    @property
    def webhook_port(self) -> int:
        """The port of `HOST:PORT`; 0 for none."""
        number = self.webhook.rpartition(":")[2]
        return int(number) if number.isdecimal() else 0


class Flag(NamedTuple):
    """One flag: its field of `ControllerFlags`, if it is followed, or why it isn't, if that makes a difference."""

    name: str
    field: str = ""
    read: Callable[[str], Any] = str
    missing: str = ""
    done: str | None = None  # what asks for what is done anyway; of switches false where it isn't said
    check: Callable[[str], Any] = str  # raises ValueError for what ends the controller, though it is followed

    @property
    def is_switch(self) -> bool:
        """Whether the name alone says true (pflag's `NoOptDefVal`)."""
        return self.read in (boolean, negated)

    @property
    def is_list(self) -> bool:
        """Whether one that is there several times has the values of all."""
        return self.read in (numbers, names)

    def lacks(self, value: str) -> bool:
        """Whether a value that can be read asks for what isn't followed."""
        if self.is_switch:
            return bool(self.missing) and self.read(value) is not (self.done == "true")
        return bool(self.missing) and value != self.done


_FOLLOWED = (
    Flag("annotations-prefix", "annotations_prefix"),
    Flag("configmap", "config_map"),
    Flag("controller-class", "controller_class"),
    Flag("deep-inspect", "deep_inspect", boolean),
    Flag("default-backend-service", "default_backend"),
    Flag("default-ssl-certificate", "default_certificate"),
    Flag("disable-catch-all", "catch_all", negated),
    Flag("disable-sync-events", "sync_events", negated),
    Flag("disable-svc-external-name", "external_names", negated),
    Flag("enable-metrics", "metrics", boolean),
    Flag("exclude-socket-metrics", "excluded_metrics", names),
    Flag("health-check-path", "health_path"),
    Flag("healthz-port", "healthz_port", port),
    Flag("http-port", "http_port", port),
    Flag("https-port", "https_port", port),
    Flag("ingress-class", "ingress_class"),
    Flag("ingress-class-by-name", "class_by_name", boolean),
    Flag("length-buckets", "length_buckets", numbers),
    Flag("metrics-per-host", "metrics_per_host", boolean),
    Flag("metrics-per-undefined-host", "metrics_per_undefined_host", boolean),
    Flag("publish-service", "publish_service"),
    Flag("publish-status-address", "publish_addresses"),
    Flag("report-status-classes", "status_classes", boolean),
    Flag("size-buckets", "size_buckets", numbers),
    Flag("tcp-services-configmap", "tcp_services"),
    Flag("time-buckets", "time_buckets", numbers),
    Flag("udp-services-configmap", "udp_services"),
    Flag("update-status", "update_status", boolean),
    Flag("validating-webhook", "webhook"),
    Flag("watch-ingress-without-class", "without_class", boolean),
    Flag("watch-namespace", "watch_namespace"),
    Flag("watch-namespace-selector", "namespace_selector", check=selector),
)
_SWITCHES = (
    # A lab's nodes have internal addresses alone, so those are what is shown, with it and without.
    "report-node-internal-ip-address",
    *(
        "alsologtostderr",
        "disable-full-test",
        "disable-leader-election",
    ),
    *(
        "logtostderr",
        "one_output",
    ),
    *("profiling", "skip_headers", "skip_log_headers", "add_dir_header"),
    "update-status-on-shutdown",
)
_VALUES = (
    *("apiserver-host", "certificate-authority", "election-id", "internal-logger-address", "kubeconfig"),
    *("log_backtrace_at", "log_dir", "log_file", "stderrthreshold", "vmodule"),
    *("validating-webhook-certificate", "validating-webhook-key"),
)
_INTEGERS = (
    *("default-server-port", "dynamic-configuration-retries", "health-check-timeout", "log_file_max_size"),
    *("max-buckets", "maxmind-retries-count", "monitor-max-batch-size"),
    *("profiler-port", "ssl-passthrough-proxy-port", "status-port", "status-update-interval", "stream-port"),
    "v",
)
_DURATIONS = ("election-ttl", "maxmind-retries-timeout", "sync-period")
_BY_NATURE = (
    *(Flag(name, read=boolean) for name in _SWITCHES),
    *map(Flag, _VALUES),
    *(Flag(name, read=integer) for name in _INTEGERS),
    *(Flag(name, read=duration) for name in _DURATIONS),
    *(Flag(name, read=number) for name in ("bucket-factor", "sync-rate-limit")),
    Flag("profiler-address", read=address),
)
_NOT_FOLLOWED = (
    Flag(
        "enable-annotation-validation",
        read=boolean,
        missing="annotations are read as those are that are validated",
        done="true",
    ),
    Flag(
        "enable-ssl-chain-completion",
        read=boolean,
        missing="certificates are shown as their Secrets have them",
    ),
    Flag("enable-ssl-passthrough", read=boolean, missing="TLS ends at the ingress"),
    Flag(
        "enable-topology-aware-routing", read=boolean, missing="the hints of EndpointSlices aren't looked at"
    ),
    Flag("healthz-host", done="", missing="the health page is at the Pod's addresses"),
    *(
        Flag(f"maxmind-{name}", missing="there is no GeoIP", done="")
        for name in ("edition-ids", "license-key", "mirror")
    ),
    Flag(
        "post-shutdown-grace-period",
        read=integer,
        missing="a controller that has ended stays while clients lack bytes of its answers, for 10 seconds at most",
        done="10",
    ),
    Flag(
        "shutdown-grace-period",
        read=integer,
        missing="a controller that ends takes no new connections from then on",
        done="0",
    ),
    Flag("version", read=boolean, missing="the controller serves, where it would say its version and end"),
)
FLAGS: Mapping[str, Flag] = {one.name: one for one in (*_FOLLOWED, *_BY_NATURE, *_NOT_FOLLOWED)}


class _Said(NamedTuple):
    """A flag as it was given, at which of the words: without value where it needs one and has none."""

    at: int
    name: str
    value: str | None


def controller_flags(words: Sequence[str], known: Mapping[str, str]) -> ControllerFlags:
    """What `command` and `args` ask for; `known` are the variables that they may name. What can't be read is left."""
    values: dict[str, Any] = {}
    for said in _said(words):
        flag = FLAGS.get(said.name)
        if flag is not None and flag.field and said.value is not None:
            try:
                value = flag.read(expand(said.value, known))
            except ValueError:
                continue
            values[flag.field] = (*values.get(flag.field, ()), *value) if flag.is_list else value
    return replace(ControllerFlags(), **values)


def oddities(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What of these words isn't followed: which one, and why."""
    given = list(_said(words))
    for at, name, value in given:
        flag = FLAGS.get(name)
        if flag is None:
            yield at, f"--{name} is no flag of the controller, which would end with it"
        elif value is None:
            yield at, f"--{name} needs a value; the controller would end without it"
        elif _is_unreadable(flag, value):
            yield at, f"--{name}={value} can't be read; the controller would end with it"
        elif flag.lacks(value):
            shown = f"{name}={value}" if flag.done == "true" else name
            yield at, f"--{shown} is not followed: {flag.missing}"
    yield from _contradictions(given)


_EXCLUSIVE = (("publish-service", "publish-status-address"), ("watch-namespace", "watch-namespace-selector"))


def _contradictions(given: Sequence[_Said]) -> Iterator[tuple[int, str]]:
    """What ParseFlags refuses of flags that can be read, each by itself."""
    said = {one.name: one for one in given if one.value}
    for one, other in _EXCLUSIVE:
        if {one, other} <= said.keys():
            yield (
                said[other].at,
                f"--{one} and --{other} are mutually exclusive; the controller would end with both",
            )
    undefined, hosts = said.get("metrics-per-undefined-host"), said.get("metrics-per-host")
    if undefined and hosts and _is_true(undefined) and not _is_true(hosts):
        yield (
            undefined.at,
            "--metrics-per-undefined-host needs --metrics-per-host=true; the controller would end without it",
        )


def _is_true(said: _Said) -> bool:
    return said.value is not None and not _is_unreadable(FLAGS[said.name], said.value) and boolean(said.value)


def _is_unreadable(flag: Flag, value: str) -> bool:
    try:
        flag.read(value), flag.check(value)
    except ValueError:
        return "$(" not in value
    return False


def _said(words: Sequence[str]) -> Iterator[_Said]:
    """The flags among the words, behind the program's name; `--` ends them."""
    index = 0
    while index < len(words):
        at, word = index, words[index]
        index += 1
        if word == "--":
            if any(map(_is_controller, words[at:])):  # of dumb-init, whose program follows
                continue
            return
        match = re.fullmatch(r"--?([A-Za-z][\w-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            continue
        name, value = match[1], match[2]
        flag = FLAGS.get(name)
        if value is None and flag is not None and flag.is_switch:
            value = "true"
        elif value is None and index < len(words) and flag is not None:
            value = words[index]
            index += 1
        yield _Said(at, name, value if flag is not None else value or "")


def _is_controller(word: str) -> bool:
    return word.rpartition("/")[2] == "nginx-ingress-controller"


def is_controllers(words: Sequence[str]) -> bool:
    """Whether words are those of the controller: its flags alone, or its program's name before them."""
    return not words or words[0].startswith("-") or any(map(_is_controller, words))
