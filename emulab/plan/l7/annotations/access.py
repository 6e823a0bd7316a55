"""Annotations that say who may in: addresses, passwords, another service. nginx's access phase.

Who says it in a way that can't be followed has asked for a lock all the same: the routes answer 503 to everybody, as
ingress-nginx has it (`LocationDenied`), and not as if nobody had asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from emulab.kinds.core.secret import text_of, texts_of
from emulab.kinds.networking import accessvalues as values
from emulab.kinds.networking.accesssettings import METHODS
from emulab.kinds.networking.enginelacks import HAPROXY, NGINX, never, partly
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import boolean, seconds, signed
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.plan.l7.annotations.redirects import always_relative
from emulab.plan.l7.annotations.table import DENIED, Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    ExternalAuthentication,
    Field,
    Refusal,
    SourceRanges,
    unknown_variables,
)

_NO_CACHE = never(NGINX, "a service is asked about each request")


def _is_unspoken(method: str) -> bool:
    return method not in ("GET", "HEAD", "POST", "PUT", "DELETE")


OPEN_PATHS = ("/.well-known/acme-challenge",)
"""`no-auth-locations` where nobody says it: whoever issues certificates has to see them."""


class _Unfollowed(Exception):
    """An annotation that can't be followed: its name, and why."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


def _apply(wishes: Wishes, draft: RouteDraft) -> None:
    defaults = draft.world.defaults
    try:
        if DENIED in wishes:
            raise _Unfollowed(*wishes[DENIED])
        open_path = any(
            draft.match.path.startswith(path) for path in defaults.get("open_paths", OPEN_PATHS) if path
        )
        deny, allow = _ranges(wishes, defaults)
        basic = _basic(wishes, draft.ingress, draft.world)
        external = _external(wishes, draft.ingress, draft.world)
        if external is None and wishes.get("global_auth", True):
            external = _global(defaults)
    except _Unfollowed as error:
        draft.policy = replace(draft.policy, ssl_redirect=False)  # it is refused before
        draft.filters.insert(0, Refusal(str(error), error.name))
        return
    if open_path:
        basic = external = None
    if external is not None:
        external = _written(external, draft)
    if deny or allow or basic or external:
        draft.filters.append(AccessControl(deny, allow, basic, external, wishes.get("satisfy") == "any"))


def _ranges(wishes: Wishes, defaults: Wishes) -> tuple[SourceRanges | None, SourceRanges | None]:
    """Whom the access module denies and allows. Lists of a location replace those of nginx as a whole."""
    name = "allowlist-source-range" if "allowlist" in wishes else "whitelist-source-range"
    deny, allow = wishes.get("denylist"), wishes.get("allowlist") or wishes.get("whitelist")
    denied = _first(
        (deny, "denylist-source-range"), (defaults.get("deny"), f"denylist-source-range {_THERE}")
    )
    allowed = _first((allow, name), (defaults.get("allow"), f"whitelist-source-range {_THERE}"))
    if denied is None and allowed is None:
        denied = _first((defaults.get("blocked"), f"block-cidrs {_THERE}"))
    return denied, allowed


_THERE = "of the controller's ConfigMap"


def _first(*said: tuple[tuple[str, ...] | None, str]) -> SourceRanges | None:
    return next((SourceRanges(cidrs, source) for cidrs, source in said if cidrs), None)


def _basic(wishes: Wishes, ingress: Ingress, world: Beside) -> BasicAuthentication | None:
    kind = wishes.get("type")
    if kind is None:
        return None
    if kind == "digest":
        raise _Unfollowed("auth-type", "digest is not offered here; use basic")
    name = wishes.get("secret", "")
    if not name:
        raise _Unfollowed("auth-type", "there is no auth-secret that says whose passwords are right")
    _check_namespace("auth-secret", name, ingress, world)
    secret = world.named(SECRET, name, ingress.namespace)
    shown = name if "/" in name else f"{ingress.namespace}/{name}"
    if secret is None:
        raise _Unfollowed("auth-secret", f"there is no Secret {shown}")
    if wishes.get("secret_type", "auth-file") == "auth-map":
        users = "".join(f"{user}:{password}\n" for user, password in texts_of(secret).items())
    else:
        found = text_of(secret, "auth")
        if found is None:
            raise _Unfollowed("auth-secret", f"Secret {shown} has no key auth")
        users = found
    return BasicAuthentication(wishes.get("realm", ""), users, f"auth-secret {shown}")


def _check_namespace(annotation: str, name: str, ingress: Ingress, world: Beside) -> None:
    namespace, slash, _ = name.partition("/")
    if slash and namespace != ingress.namespace and not world.defaults.get("cross_namespace"):
        why = f"{name} is of another namespace, which allow-cross-namespace-resources doesn't allow"
        raise _Unfollowed(annotation, why)


def _external(wishes: Wishes, ingress: Ingress, world: Beside) -> ExternalAuthentication | None:
    url = wishes.get("auth_url", "")
    if not url:
        return None
    return _authentication(wishes, "auth-url", url, _set_headers(wishes, ingress, world))


def _set_headers(wishes: Wishes, ingress: Ingress, world: Beside) -> tuple[Field, ...]:
    name = wishes.get("auth_set_headers", "")
    if not name:
        return ()
    annotation = "auth-proxy-set-headers"
    _check_namespace(annotation, name, ingress, world)
    if "/" not in name:
        raise _Unfollowed(annotation, f"{name} names no namespace: write {ingress.namespace}/{name}")
    found = world.named(CONFIG_MAP, name, ingress.namespace)
    if found is None:
        raise _Unfollowed(annotation, f"there is no ConfigMap {name}")
    data = {key: str(value) for key, value in (found.raw.get("data") or {}).items()}
    for key in data:
        try:
            values.header_names(key)
        except ValueError as error:
            raise _Unfollowed(annotation, f"ConfigMap {name} {error}") from None
    return tuple(Field(key, value) for key, value in sorted(data.items()))


def _global(defaults: Wishes) -> ExternalAuthentication | None:
    url = defaults.get("auth_url", "")
    return _authentication(defaults, "global-auth-url", url, ()) if url else None


def _authentication(
    wishes: Wishes, source: str, url: str, set_headers: tuple[Field, ...]
) -> ExternalAuthentication:
    found = ExternalAuthentication(
        url,
        wishes.get("auth_method", ""),
        set_headers,
        wishes.get("auth_response_headers", ()),
        wishes.get("auth_request_redirect", ""),
        wishes.get("auth_signin", ""),
        wishes.get("auth_signin_param") or "rd",
        wishes.get("auth_cache_key", ""),
        wishes.get("auth_cache_durations") or ("200 202 401 5m",),
        wishes.get("auth_always_set_cookie", False),
        source,
    )
    texts = [found.url, found.signin, found.cache_key, found.request_redirect]
    for text in (*texts, *(field.value for field in set_headers)):
        if unknown := [name for name in unknown_variables(text, groups=False) if name not in _OF_INGRESSES]:
            raise _Unfollowed(source, f"{text!r}: nginx has no variable ${unknown[0]}")
    return found


_OF_INGRESSES = ("namespace", "ingress_name", "service_name", "service_port", "location_path")


def _written(external: ExternalAuthentication, draft: RouteDraft) -> ExternalAuthentication:
    """With what is known of the Ingress in the place of its variables."""
    upstream = draft.backends[0].upstream if draft.backends else ""
    _, service, port = (*upstream.split("/"), "", "", "")[:3]
    known = (draft.ingress.namespace, draft.ingress.name, service, port, draft.match.path)
    pairs = dict(zip(_OF_INGRESSES, known, strict=True))

    def written(text: str) -> str:
        for name, value in pairs.items():
            text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
        return text

    return replace(
        external,
        url=written(external.url),
        signin=written(external.signin),
        signin_relative=always_relative(draft.world.settings),
        cache_key=written(external.cache_key),
        request_redirect=written(external.request_redirect),
        set_headers=tuple(Field(field.name, written(field.value)) for field in external.set_headers),
    )


def _wrong(wishes: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    try:
        _basic(wishes, ingress, world)
        _external(wishes, ingress, world)
    except _Unfollowed as error:
        yield error.name, f"{error.why}; everybody is answered 503"
    if wishes.get("secret") and "type" not in wishes:
        yield "auth-secret", "says nothing without auth-type: nobody is asked for a password"


ACCESS = Theme(
    (
        Annotation(
            "denylist-source-range",
            values.networks,
            "denylist",
            "networks whose clients may not in",
            denies=True,
            lines=True,
        ),
        Annotation(
            "allowlist-source-range",
            values.networks,
            "allowlist",
            "networks whose clients alone may in",
            denies=True,
            lines=True,
        ),
        Annotation(
            "whitelist-source-range",
            values.networks,
            "whitelist",
            "the older name of allowlist-source-range",
            denies=True,
            lines=True,
        ),
        Annotation(
            "satisfy",
            values.choice("any", "all"),
            "satisfy",
            "whether one check that lets in is enough",
            lines=True,
        ),
        Annotation(
            "auth-type",
            values.choice("basic", "digest"),
            "type",
            "basic: a name and a password are asked for",
            denies=True,
        ),
        Annotation(
            "auth-secret", values.object_name, "secret", "the Secret that has the passwords", denies=True
        ),
        Annotation(
            "auth-secret-type",
            values.choice("auth-file", "auth-map"),
            "secret_type",
            "how the Secret has them: a file of htpasswd under `auth`, or a key a user",
            denies=True,
            needs=("auth-type",),
        ),
        Annotation(
            "auth-realm",
            values.realm,
            "realm",
            "what clients show with the question",
            denies=True,
            needs=("auth-type",),
        ),
        Annotation(
            "auth-url", values.url, "auth_url", "a service is asked whether a request may in", denies=True
        ),
        Annotation(
            "auth-method",
            values.choice(*METHODS),
            "auth_method",
            "with which method it is asked",
            denies=True,
            lacks=(
                partly(HAPROXY, "others than GET, HEAD, POST, PUT and DELETE are asked by GET", _is_unspoken),
            ),
            needs=("auth-url",),
        ),
        Annotation(
            "auth-response-headers",
            values.header_names,
            "auth_response_headers",
            "fields of its answer that the backend gets",
            denies=True,
            needs=("auth-url",),
        ),
        Annotation(
            "auth-proxy-set-headers",
            values.object_name,
            "auth_set_headers",
            "a ConfigMap of fields that it is told",
            denies=True,
            needs=("auth-url",),
        ),
        Annotation(
            "auth-cache-duration",
            values.durations,
            "auth_cache_durations",
            "how long its answers are kept, by their status",
            denies=True,
            lacks=(_NO_CACHE,),
            needs=("auth-cache-key",),
        ),
        Annotation(
            "auth-cache-key",
            values.cache_key,
            "auth_cache_key",
            "by what its answers are kept",
            lacks=(_NO_CACHE,),
            needs=("auth-url",),
        ),
        Annotation(
            "auth-signin",
            values.place,
            "auth_signin",
            "where a client is sent that it doesn't let in",
            lacks=(partly(NGINX, "the way back is as the client wrote it: what escapes it is of OpenResty"),),
            needs=("auth-url",),
        ),
        Annotation(
            "auth-signin-redirect-param",
            values.url_text,
            "auth_signin_param",
            "the parameter with the way back",
            needs=("auth-signin",),
        ),
        Annotation(
            "auth-request-redirect",
            values.url_text,
            "auth_request_redirect",
            "the X-Auth-Request-Redirect that it is told",
            needs=("auth-url",),
        ),
        Annotation(
            "auth-always-set-cookie",
            boolean,
            "auth_always_set_cookie",
            "whether its cookie goes to the client with every status",
            needs=("auth-url",),
        ),
        Annotation(
            "auth-keepalive",
            signed,
            "keepalive",
            "connections that are kept to it: each question has one of its own here",
            untold=True,
        ),
        Annotation(
            "auth-keepalive-share-vars",
            boolean,
            "keepalive_share",
            "of no effect without auth-keepalive",
            untold=True,
        ),
        Annotation(
            "auth-keepalive-requests",
            signed,
            "keepalive_requests",
            "of no effect without auth-keepalive",
            untold=True,
        ),
        Annotation(
            "auth-keepalive-timeout",
            seconds,
            "keepalive_timeout",
            "of no effect without auth-keepalive",
            untold=True,
        ),
        Annotation(
            "enable-global-auth", boolean, "global_auth", "whether the ConfigMap's global-auth-url is asked"
        ),
    ),
    _apply,
    _wrong,
    always=True,
)
