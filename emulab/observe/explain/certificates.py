"""Failures of TLS, and certificates that no client takes. Pure."""

from __future__ import annotations

import time

from emulab.observe.explain.case import Case, Diagnosis
from emulab.observe.join.dissect import describe_http, end_name
from emulab.observe.path import Failure
from emulab.plan.owner import Owner

_TRACE = "or trace with --insecure"


def tls(case: Case) -> Diagnosis | None:
    """A failure of TLS, or of a certificate that no client takes."""
    sending = case.sending
    if sending.error != "tls":
        return None
    ender = next(
        (leg for leg in case.chain if any(r.fields["event"] == "tls" for r in leg.records)), case.last
    )
    place = ender.arrived.place if ender and ender.arrived else sending.place
    who, host = case.named(place), case.fact("host", sending.host)
    if "not_after" not in sending.tls:
        return Diagnosis(_no_tls(case, place, who))
    secret = str(host.details.get("secret") or "") if host else ""
    stands_for = secret or (host.text if host else who)
    names = ", ".join(sending.tls.get("names") or ("no name",))
    certificate = f"the certificate for {names} that {who} presented"
    begin, end = (
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(sending.tls[k])))
        for k in ("not_before", "not_after")
    )
    renew = f"put a valid certificate into {secret or 'the Secret that it comes from'}, {_TRACE}"
    if sending.reason.startswith("certificate expired"):
        text = f"{certificate} expired on {end}"
        return Diagnosis(Failure(place, "certificate-expired", text, renew, stands_for))
    if "isn't valid yet" in sending.reason:
        text = f"{certificate} isn't valid before {begin}"
        return Diagnosis(Failure(place, "certificate-not-yet-valid", text, renew, stands_for))
    why, remedy = _why_not_for(sending.host, host)
    text = f"{certificate} is not for {sending.host}{why}"
    return Diagnosis(Failure(place, "certificate-name", text, f"{remedy}, {_TRACE}", stands_for))


def _why_not_for(name: str, host: Owner | None) -> tuple[str, str]:
    """Why a certificate isn't for the host that was asked for, and what to do about it."""
    if host is None:
        remedy = f"add an Ingress with the host {name} in spec.rules and spec.tls"
        return f": no Ingress has the host {name}", remedy
    details, by = host.details, str(host.details.get("by") or host.text)
    secret, problem = str(details.get("secret") or ""), str(details.get("problem") or "")
    if details.get("unserved"):
        remedy = f"set spec.ingressClassName of {host.text} to one that is served: {details['classes']}"
        return f": {host.text} has the host {name}, but {details['unserved']}", remedy
    if details.get("no_rule"):
        return (
            f": {host.text} has it in spec.tls and has no rule for it",
            f"add a rule for {name} to {host.text}",
        )
    if not details.get("tls"):
        remedy = f"add spec.tls with the host {name} and a Secret to {host.text}"
        return f": {host.text} has no spec.tls for it", remedy
    if not secret:
        remedy = f"add the host {name} and a Secret to spec.tls of {by}"
        return f": {by} has spec.tls, and no Secret in it for this host", remedy
    if not details.get("usable"):
        lacks = "does not exist" if not details.get("exists") else "has no certificate and key"
        return f": {secret}, which {by} names, {lacks}", f"apply {secret} with tls.crt and tls.key"
    remedy = f"put a certificate for {name} into {secret}"
    if problem:
        return f": the one in {secret}, which {by} names, isn't shown ({problem})", remedy
    return f"; it is the one in {secret}, which {by} names", remedy


def _no_tls(case: Case, place: str, who: str) -> Failure:
    """A failure because no TLS connection came about at all."""
    sending = case.sending
    back = [t.first for leg in case.chain for t in leg.transits if not t.forward and t.first.size]
    plain = next((said for p in back if (said := describe_http(p.payload))), "")
    address = end_name(sending.address, sending.port)
    if plain or "wrong version" in sending.reason:
        text = f"{who} doesn't speak TLS on {address}: it answered the ClientHello with {plain or 'something else'}"
        plain_url = sending.target.replace("https://", "http://", 1)
        return Failure(place, "no-tls", text, f"ask without TLS: emulab trace {plain_url}", who)
    text = f"TLS with {who} failed on {address}: {sending.reason}"
    return Failure(place, "tls", text, f"see what it offers: openssl s_client -connect {address}", who)
