"""The ingress controller's configuration: rules, upstreams and certificates from Ingress objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from emulab.kinds.core.certificates import LeafCertificate, leaf_certificate
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import ENGINES
from emulab.kinds.kind import Kind
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.controllerkeys import composed
from emulab.kinds.networking.controllersettings import unreadable_keys
from emulab.kinds.networking.destinations import DestinationRules
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress, oldest_first
from emulab.kinds.networking.servernames import (
    HostCertificate,
    catch_all,
    certificates_of,
    dated_problems,
    is_secured,
    server_names,
)
from emulab.kinds.registry import CONFIG_MAP, DESTINATION_RULE, INGRESS, SECRET, SERVICE
from emulab.model.objects import NOWHERE, Object
from emulab.plan.endpoints import views
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import follow
from emulab.plan.l7.annotations.buffering import request_buffer
from emulab.plan.l7.annotations.table import RouteDraft
from emulab.plan.l7.configmap import defaults, for_all, of_upstreams, settings
from emulab.plan.l7.hosts import arranged, other_names
from emulab.plan.l7.spreading import asks_service, rule_of_port, says_service, spread
from emulab.plan.l7.streams import StreamPorts, stream_ports, stream_server
from emulab.plan.l7.upstreams import backend_name, external_server, servers_of
from emulab.plan.l7.verifications import HostVerifications
from emulab.plan.l7.wishes import IngressWishes
from emulab.plan.pods import listens_everywhere
from emulab.plan.state import Place, PlannedServer
from emulab.servers.l7.config import (
    ANY_HOST,
    Canary,
    Certificate,
    DirectResponse,
    L7Config,
    Match,
    MeasuredAs,
    Notice,
    Policy,
    RegexRewrite,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)

_DEFAULT = Certificate((), "", "")
"""Stands for the default certificate, which the flags name or the proxy makes itself."""
_PARTS_OF = {INGRESS.kind: "annotations", CONFIG_MAP.kind: "keys"}


def ingress_config(source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> L7Config:
    """The configuration of every ingress pod with these flags, without its listeners."""
    classes = IngressClasses.among(source, cluster)
    there = map(Ingress.of, source.members(INGRESS).values())
    taken = oldest_first(one for one in there if classes.takes(flags, one))
    builder = _Builder(source, cluster, flags, taken)
    builder.serve(builder.wishes.mains)
    builder.serve_all_others()
    every = builder.every
    filters = (*every.before, *every.after)
    arrangement = arranged(builder.drafts, every, builder.of_flags, builder.shown_names)
    return L7Config(
        listen=(),
        routes=tuple(arrangement),
        default_upstream=builder.default,
        default_filters=filters,
        upstreams=builder.upstreams,
        certificates=builder.certificates(),
        verifications=builder.verifications.told(),
        options=builder.options,
        policy=replace(
            builder.policy,
            ssl_redirect=False,
            force_ssl_redirect=False,
            request_buffer=request_buffer(builder.policy),
        ),
        notices=tuple(builder.notices),
        workers=composed(builder.settings).get("worker-processes", cluster.ingress_workers),
    )


def ingress_server(
    name: str, place: Place, config: L7Config, flags: ControllerFlags, engine: str = "builtin"
) -> PlannedServer:
    """The server in one of the ingress controller's pods, which resolves names as its pod does.

    Beside HTTP it has the page of the controller's health, and, where it is to validate Ingresses, a port for whoever
    asks it to: it is never asked here, as what a lab has was validated when it came.
    """
    plain, tls, health, webhook = (
        tuple(f"tcp/{address}/{port}" for address in place.addresses if port)
        for port in (flags.http_port, flags.https_port, flags.healthz_port, flags.webhook_port)
    )
    pages: dict[str, Mapping[str, str]] = {key: {flags.health_path: "ok"} for key in health}
    pages |= {key: {} for key in webhook}
    namespace, _, pod = place.name.partition(".")
    listen = (*plain, *tls, *health, *webhook)
    config = replace(
        config,
        listen=listen,
        routes=(*config.routes, *_own_pages(flags)),
        tls_listen=(*tls, *webhook),
        pages=pages,
        metrics_at=health,
        measured=_measured(flags, namespace, pod) if flags.metrics else None,
        resolv_conf=place.resolv_conf,
        hosts=place.hosts,
    )
    sockets, everywhere = dict.fromkeys(listen, place.namespace), listens_everywhere(place, listen)
    return PlannedServer(name, ENGINES[engine], place.namespace, config, sockets, everywhere)


def _own_pages(flags: ControllerFlags) -> tuple[RequestRoute, ...]:
    """What is at hosts that nobody has, beside what an Ingress says: a page for clouds' balancers, and nginx' counters,
    which are for its own host alone (nginx.tmpl)."""
    quiet = Policy(access_log=False)
    pages = (
        (flags.health_path, DirectResponse(200, plain=True)),
        ("/nginx_status", DirectResponse(403, plain=True)),
    )
    return tuple(RequestRoute(Match("", path), (), "", (page,), quiet) for path, page in pages)


def _measured(flags: ControllerFlags, namespace: str, pod: str) -> MeasuredAs:
    labels = {
        "controller_class": flags.controller_class,
        "controller_namespace": namespace,
        "controller_pod": pod,
    }
    return MeasuredAs(
        labels,
        per_host=flags.metrics_per_host,
        per_undefined_host=flags.metrics_per_undefined_host,
        status_classes=flags.status_classes,
        time_bounds=flags.time_buckets,
        length_bounds=flags.length_buckets,
        size_bounds=flags.size_buckets,
        excluded=flags.excluded_metrics,
    )


class IngressPlan(NamedTuple):
    """What all pods with the same flags do: serve Ingresses, and lead to Services past them."""

    config: L7Config
    ports: StreamPorts
    engine: str


class IngressTold(NamedTuple):
    """What a container tells its server: its flags, and what serves, "" where its image doesn't say it."""

    flags: ControllerFlags
    engine: str


def ingress_plan(source: PlanSource, cluster: Cluster, told: IngressTold) -> IngressPlan:
    """What every ingress pod does whose container tells this."""
    config, ports = ingress_config(source, cluster, told.flags), stream_ports(source, told.flags)
    return IngressPlan(config, ports, told.engine or cluster.ingress_engine)


def ingress_servers(
    name: str, place: Place, plan: IngressPlan, flags: ControllerFlags
) -> list[PlannedServer]:
    """The servers in one of the ingress controller's pods."""
    own = [ingress_server(name, place, plan.config, flags, plan.engine)]
    return [*own, stream_server(name, place, plan.ports)] if plan.ports else own


class _Builder:
    def __init__(
        self, source: PlanSource, cluster: Cluster, flags: ControllerFlags, ingresses: list[Ingress]
    ) -> None:
        self._source = source
        self._cluster = cluster
        self._flags = flags
        self.drafts: list[RouteDraft] = []
        self.upstreams: dict[str, Upstream] = {}
        self._shown: dict[str, tuple[Certificate, list[str]]] = {}  # by its Secret, and by which hosts
        self._untaken: list[tuple[Ingress, str, bool]] = []  # hosts, and whether they are secured
        self.shown_names: set[str] = set()  # other names of hosts that have certificates
        self.notices: list[Notice] = []
        self._complained: set[Notice] = set()
        self.default: str | None = None  # the upstream of what no route takes
        self.of_flags: str | None = None  # and the one that the flags name for it
        config_map = self.named(CONFIG_MAP, flags.config_map)
        data = (config_map.raw.get("data") or {}) if config_map is not None else {}
        self.settings: Mapping[str, str] = {key: str(value) for key, value in data.items()}
        for key, why in unreadable_keys(self.settings).items():
            self._complain(f"ConfigMap {flags.config_map}", f"{key}: {self.settings[key]!r} {why}")
        self.policy, options = settings(self.settings)
        self.every, fields = for_all(self.settings, self._texts)
        # The lab's own says so for the lab's own balancers; who asks the ingress otherwise is heard, too.
        optional = config_map is not None and config_map.position == NOWHERE
        self.options = replace(options, fields=fields, proxy_optional=options.proxy_protocol and optional)
        self.wishes = IngressWishes(ingresses, flags.annotations_prefix + "/", of_upstreams(self.settings))
        self._rules = DestinationRules(source.members(DESTINATION_RULE).values(), cluster.cluster_domain)
        self.defaults = defaults(self.settings)
        self.verifications = HostVerifications()

    def _complain(self, about: str, what: str) -> None:
        """Tells, once, of what an object says and can't be followed."""
        notice = Notice(f"Error parsing {_PARTS_OF[about.partition(' ')[0]]} of {about}: {what}", about=about)
        if notice not in self._complained:
            self._complained.add(notice)
            self.notices.append(notice)

    def _texts(self, name: str) -> Mapping[str, str]:
        """What a ConfigMap has; nothing where there is none."""
        o = self.named(CONFIG_MAP, name)
        return {
            key: str(value) for key, value in ((o.raw.get("data") or {}) if o is not None else {}).items()
        }

    @cached_property
    def hosts(self) -> Collection[str]:
        """See `Beside`."""
        there = map(Ingress.of, self._source.members(INGRESS).values())
        return frozenset(rule.host for one in there for rule in one.rules)

    def has_servers(self, upstream: str) -> bool:
        """See `Beside`."""
        return bool(self.upstreams[upstream].servers)

    def named(self, kind: Kind, text: str, namespace: str = "") -> Object | None:
        """See `Beside`. Flags name objects `NAMESPACE/NAME`."""
        before, slash, name = text.rpartition("/")
        namespace = before if slash else namespace
        return self._source.get(kind.key(namespace, name)) if namespace and name else None

    def serve(self, ingresses: Sequence[Ingress]) -> None:
        """Has routes for the hosts of these Ingresses, the oldest first."""
        names = server_names(ingresses, self._secret)
        for name in names.values():
            secured = is_secured(names, name.host)
            for by, path in name.paths:
                self._route(by, Match(name.host, path.path, path.taken_as), path.backend, secured)
            if name.rest is not None:
                self._route(name.first, Match(name.host, "/", "Prefix"), name.rest, secured)
                self.drafts[-1].policy = replace(self.drafts[-1].policy, affinity_cookie=False)
            elif name.host and not name.has_root:
                self._untaken.append((name.first, name.host, secured))
        for one in ingresses:
            self.verifications.add(one, self._flags.annotations_prefix + "/", self)
        everything = catch_all(ingresses)
        if everything is not None and everything.default_backend is not None:
            self.default = self.upstream(everything.namespace, everything.default_backend)
            self._catch_all(everything, WeightedUpstream(self.default))
            self.options = replace(self.options, log_default=True)
        others = other_names(self.drafts)
        for certificate in certificates_of(names):
            self._certify(certificate, others.get(certificate.host, ()))

    def _route(self, ingress: Ingress, match: Match, to: Backend, secured: bool) -> None:
        """`secured`: whether the host has a certificate, without which nobody is sent to TLS for it."""
        backends = (WeightedUpstream(self.upstream(ingress.namespace, to)),)
        draft = self._draft(ingress, match, backends)
        if not secured and draft.policy.ssl_redirect:
            draft.policy = replace(draft.policy, ssl_redirect=False)
        draft.canary = self._canary(backends[0].upstream)
        self.drafts.append(draft)

    def _canary(self, upstream: str) -> Canary | None:
        """The canary of an upstream, with its own."""
        canary = self.wishes.canary(upstream)
        if canary is not None:
            namespace, service, port = canary.upstream.split("/")
            self.upstream(namespace, Backend(service, int(port) if port.isdecimal() else port))
        return canary

    def _draft(
        self, ingress: Ingress, match: Match, backends: tuple[WeightedUpstream, ...] = ()
    ) -> RouteDraft:
        """A route of an Ingress, as its annotations will have it."""
        draft = RouteDraft(ingress, match, backends, self.policy, self)
        follow(draft, self._flags.annotations_prefix + "/")
        if draft.policy.redirect_port:
            draft.policy = replace(draft.policy, redirect_port=self._flags.https_port)
        for what in draft.wrong:
            self._complain(draft.origin, what)
        return draft

    def _catch_all(self, ingress: Ingress, to: WeightedUpstream) -> None:
        """What is served for hosts that no rule has: by annotations, but for those that redirect and rewrite."""
        draft = self._draft(ingress, Match("", "/", "Prefix"), (to,))
        draft.filters = [one for one in draft.filters if not isinstance(one, DirectResponse | RegexRewrite)]
        draft.is_regular, draft.root = False, ""
        draft.policy = replace(
            draft.policy, ssl_redirect=False, force_ssl_redirect=False, affinity_cookie=False
        )
        draft.canary = self._canary(to.upstream)
        plain = replace(self.policy, ssl_redirect=False, force_ssl_redirect=False)
        if draft.canary or draft.filters or draft.denied or draft.errors or draft.policy != plain:
            self.drafts.append(draft)

    def _take_rests(self, backends: tuple[WeightedUpstream, ...], caught: bool) -> None:
        """What no path of a host takes is the default backend's of the flags, whoever has what no rule has (`caught`),
        with the annotations of the host's first Ingress: those of its default location (`createServers`)."""
        for ingress, host, secured in self._untaken:
            draft = self._draft(ingress, Match(host, "/", "Prefix"))
            draft.backends, draft.error_upstream = backends, ""
            redirects = secured and draft.policy.ssl_redirect
            draft.policy = replace(
                draft.policy, reach=self.policy.reach, ssl_redirect=redirects, affinity_cookie=False
            )
            sends = redirects or draft.policy.force_ssl_redirect or draft.root or draft.is_www
            told = draft.filters or draft.denied or draft.errors or not draft.policy.access_log
            if caught or sends or told:
                self.drafts.append(draft)

    def serve_all_others(self) -> None:
        """What is served for hosts that no Ingress has: by the flags, where no Ingress says it."""
        backend, caught = self.named(SERVICE, self._flags.default_backend), self.default is not None
        if backend is not None and (ports := Service.of(backend).ports):
            upstream = self.upstream(backend.namespace, Backend(backend.name, ports[0].port))
            if self.upstreams[upstream].servers:  # without any, the controller's own 404 is the default
                self.default, self.of_flags = self.default or upstream, upstream
            elif not any(upstream == one.upstream for draft in self.drafts for one in draft.backends):
                del self.upstreams[upstream]
        self._take_rests((WeightedUpstream(self.of_flags),) if self.of_flags else (), caught)
        named = self._flags.default_certificate
        secret = self.named(SECRET, named)
        leaf = (
            leaf_certificate(secret) if secret is not None else f"local SSL certificate {named} was not found"
        )
        if not isinstance(leaf, str):
            self._show(leaf, named, ANY_HOST)
        elif named:
            said = "Error loading custom default certificate, falling back to generated default:"
            self.notices.append(Notice(f"{said} {leaf}"))

    def _certify(self, certificate: HostCertificate, others: Collection[str]) -> None:
        """Has a host show its certificate, and its other names, if that is for them, too."""
        if certificate.problem is not None:
            self.notices.append(Notice(certificate.problem.message))
        secret = f"{certificate.ingress.namespace}/{certificate.secret}"
        self._show(certificate.leaf, secret, certificate.host)
        for other in others:
            if certificate.leaf is not None and certificate.leaf.covers(other):
                self._show(certificate.leaf, secret, other)
                self.shown_names.add(other)

    def _show(self, leaf: LeafCertificate | None, secret: str, host: str) -> None:
        """Has a host show a Secret's certificate, or the default one."""
        key = secret if leaf is not None else ""
        if key not in self._shown:
            self._shown[key] = Certificate((), *leaf.pair, secret, leaf.not_after) if leaf else _DEFAULT, []
            for problem, since, until in dated_problems("{host}", leaf) if leaf and host != ANY_HOST else ():
                self.notices.append(Notice(problem.message, since, until, secret))
        self._shown[key][1].append(host)

    def certificates(self) -> tuple[Certificate, ...]:
        """Those of all hosts, each Secret's once."""
        return tuple(replace(shown, hosts=tuple(hosts)) for shown, hosts in self._shown.values())

    def _secret(self, namespace: str, name: str) -> Object | None:
        return self._source.get(SECRET.key(namespace, name))

    def upstream(self, namespace: str, backend: Backend) -> str:
        """See `Beside`."""
        name = backend_name(namespace, backend)
        if name not in self.upstreams:
            o = self._source.get(SERVICE.key(namespace, backend.service))
            self.upstreams[name] = self._upstream(Service.of(o), backend, name) if o else Upstream()
        return name

    def _upstream(self, service: Service, backend: Backend, name: str) -> Upstream:
        """Whom to ask for a backend, and how; nobody where none is ready (503)."""
        wish, default = self.wishes.of(name), self.wishes.default
        rule = rule_of_port(self._rules, service, backend.port)
        made = spread(wish, default, rule)
        if service.type == "ExternalName":
            server = external_server(service, backend.port) if self._flags.external_names else None
            return replace(made, servers=(server,) if server is not None else ())
        by_address = asks_service(wish, default, rule, self._cluster.ingress_upstream == "service")
        slices = views(self._source.slices((service.namespace, service.name)))
        said = bool(says_service(wish, default))
        servers = servers_of(service, backend.port, slices, by_address, said)
        return replace(made, servers=servers.addresses, endpoints=servers.behind)
