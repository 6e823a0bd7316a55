"""What is decided of each host over all Ingresses."""

from __future__ import annotations

from typing import Any

import pytest
from tlspairs import DAY, NOW, pair, tls_secret

from emulab.kinds.core.certificates import LeafCertificate, leaf_certificate
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.kinds.networking.servernames import ServerName, dated_problems, is_secured, server_names
from emulab.model.objects import Object


def path(text: str = "/", kind: str = "Prefix", to: str = "web") -> dict[str, Any]:
    return {"path": text, "pathType": kind, "backend": {"service": {"name": to, "port": {"number": 80}}}}


def rule(host: str, *paths: dict[str, Any]) -> dict[str, Any]:
    return {"host": host, "http": {"paths": list(paths or (path(),))}}


def ingress(
    name: str, *rules: dict[str, Any], created: str = "", namespace: str = "default", **spec: Any
) -> Ingress:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    api = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    return Ingress.of(Object({**api, "metadata": metadata, "spec": {"rules": list(rules), **spec}}))


def tls(secret: str = "", *hosts: str) -> dict[str, Any]:
    return {**({"secretName": secret} if secret else {}), **({"hosts": list(hosts)} if hosts else {})}


def named(*ingresses: Ingress, **secrets: Object) -> dict[str, ServerName]:
    return server_names(oldest_first(ingresses), lambda namespace, name: secrets.get(name))


def shown(names: dict[str, ServerName]) -> dict[str, str | None]:
    """The Secret whose certificate each host shows: "" the default one, None none at all."""
    found: dict[str, str | None] = {}
    for host, name in names.items():
        one = name.certificate
        found[host] = None if one is None else one.secret if one.leaf is not None else ""
    return found


def problem(names: dict[str, ServerName], host: str) -> tuple[str, str]:
    certificate = names[host].certificate
    assert certificate is not None and certificate.problem is not None
    return certificate.problem


WILD = tls_secret("wild", pair("*.tls.test"))


def test_the_older_wins_and_of_one_second_the_last_by_name() -> None:
    first, second = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    given = [
        ingress("b", created=second),
        ingress("a", created=first),
        ingress("z", created=second),
        ingress("y", created=second, namespace="zoo"),
    ]
    assert [one.full_name for one in oldest_first(given)] == ["default/a", "zoo/y", "default/z", "default/b"]


def test_paths_of_one_host_are_merged_and_said_twice_the_first_is_heard() -> None:
    old = ingress("old", rule("h", path("/a", to="old"), path("/x", "Exact", to="old")), created="1")
    new = ingress(
        "new", rule("h", path("/a", to="new"), path("/x", to="new"), path("/b", to="new")), created="2"
    )
    got = [(by.name, p.path, p.path_type) for by, p in named(new, old)["h"].paths]
    assert got == [
        ("old", "/a", "Prefix"),
        ("old", "/x", "Exact"),
        ("new", "/x", "Prefix"),
        ("new", "/b", "Prefix"),
    ]


@pytest.mark.parametrize(
    ("other", "root"),
    [
        (path("/"), True),
        (path("/", "ImplementationSpecific"), True),
        (path("/", "Exact"), False),
        (path("/b"), False),
    ],
)
def test_whether_some_ingress_takes_all_of_a_host(other: dict[str, Any], root: bool) -> None:
    """I1: then nobody's default backend is asked, whoever is older."""
    one, two = ingress("a", rule("h", path("/a")), created="1"), ingress("b", rule("h", other), created="2")
    found = named(one, two)["h"]
    assert found.has_root is root and found.first == one


@pytest.mark.parametrize(
    ("section", "host", "expected"),
    [
        (tls("wild", "*.tls.test"), "t.tls.test", "wild"),  # T1: by the certificate's names
        (tls("wild"), "t.tls.test", "wild"),  # T4: a section without hosts
        (tls("wild", "t.tls.test"), "T.tls.test", "wild"),
        (tls("wild", "t.tls.test"), "u.other.test", ""),  # T7: another rule's host
        (tls("wild"), "a.b.tls.test", ""),
        (tls("wild", "*.tls.test"), "*.tls.test", "wild"),
        (tls("", "t.tls.test"), "t.tls.test", ""),
        (tls("none", "t.tls.test"), "t.tls.test", ""),
    ],
)
def test_the_certificate_of_a_host(section: dict[str, Any], host: str, expected: str) -> None:
    names = named(ingress("i", rule(host), tls=[section]), wild=WILD)
    assert shown(names) == {host: expected} and is_secured(names, host)


def test_no_section_no_certificate() -> None:
    names = named(ingress("i", rule("t.tls.test"), rule("")), wild=WILD)
    assert shown(names) == {"": None, "t.tls.test": None} and not is_secured(names, "t.tls.test")
    assert shown(named(ingress("i", rule(""), tls=[tls("wild")]), wild=WILD)) == {"": None}


def test_a_host_has_the_certificate_of_the_first_ingress_with_a_section() -> None:
    """T2: paths of others are secured, too."""
    plain = ingress("plain", rule("t.tls.test", path("/p")), created="1")
    late = ingress("late", rule("t.tls.test", path("/q")), tls=[tls("wild", "t.tls.test")], created="2")
    third = ingress("third", rule("t.tls.test"), tls=[tls("none", "t.tls.test")], created="3")
    names = named(third, late, plain, wild=WILD)
    assert shown(names) == {"t.tls.test": "wild"} and is_secured(names, "t.tls.test")


def test_a_wildcard_one_label_above_secures_a_host() -> None:
    names = named(
        ingress("i", rule("*.tls.test"), tls=[tls("wild")]), ingress("j", rule("t.tls.test")), wild=WILD
    )
    assert shown(names) == {"*.tls.test": "wild", "t.tls.test": None}
    assert (
        is_secured(names, "t.tls.test")
        and not is_secured(names, "a.t.tls.test")
        and not is_secured(names, "")
    )


def test_what_is_wrong_is_said_in_ingress_nginx_words() -> None:
    """T5, and its neighbours."""
    cert, key = pair("a.test")
    secrets = {
        "other": tls_secret("other", (cert, key)),
        "text": tls_secret("text", ("nonsense", key)),
        "key": tls_secret("key", (key, key)),
        "mixed": tls_secret("mixed", (cert, pair("b.test")[1])),
        "broken": tls_secret("broken", (cert, "no key")),
        "empty": Object(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "empty", "namespace": "default"}}
        ),
    }
    sections = [tls(name, f"{name}.test") for name in (*secrets, "lost")]
    names = named(
        ingress("i", *(rule(f"{name}.test") for name in (*secrets, "lost")), tls=sections), **secrets
    )
    assert set(shown(names).values()) == {""}
    assert problem(names, "other.test") == (
        "CertificateMismatch",
        'SSL certificate "default/other" does not contain a Common Name or Subject Alternative Name for server'
        ' "other.test": x509: certificate is valid for a.test, not other.test. Using default certificate',
    )
    said = {host: problem(names, host) for host in names}
    assert said["lost.test"] == (
        "CertificateNotFound",
        'Error getting SSL certificate "default/lost": local SSL certificate default/lost was not found. Using default'
        " certificate",
    )
    for host, words in {
        "text": "no valid PEM formatted block found",
        "key": "make sure certificate content starts with 'BEGIN CERTIFICATE'",
        "mixed": "tls: private key does not match public key",
        "broken": "tls: failed to parse private key",
        "empty": 'secret "default/empty" contains no keypair',
    }.items():
        reason, message = said[f"{host}.test"]
        assert reason == "CertificateUnusable" and words in message, message


def test_a_common_name_counts_where_there_is_no_other() -> None:
    """For a host that a section names; a Secret isn't found by it (`VerifyHostname` of Go)."""
    old = tls_secret("old", pair(common="t.test"))
    assert shown(named(ingress("i", rule("t.test"), tls=[tls("old", "t.test")]), old=old)) == {
        "t.test": "old"
    }
    assert shown(named(ingress("i", rule("t.test"), tls=[tls("old")]), old=old)) == {"t.test": ""}
    both = tls_secret("old", pair("s.test", common="t.test"))
    assert shown(named(ingress("i", rule("t.test"), tls=[tls("old", "t.test")]), old=both)) == {"t.test": ""}


def test_rsa_and_ecdsa_are_two_hosts_matter_and_of_one_host_the_first_counts() -> None:
    secrets = {
        "ec": tls_secret("ec", pair("a.test")),
        "rsa": tls_secret("rsa", pair("a.test", "b.test", is_rsa=True)),
    }
    one = ingress("i", rule("a.test"), rule("b.test"), tls=[tls("ec"), tls("rsa")])
    assert shown(named(one, **secrets)) == {"a.test": "ec", "b.test": "rsa"}
    one = ingress("i", rule("a.test"), tls=[tls("rsa", "a.test"), tls("ec", "a.test")])
    assert shown(named(one, **secrets)) == {"a.test": "rsa"}


@pytest.mark.parametrize(
    ("begin", "end", "reason", "says"),
    [
        (-DAY, 100 * DAY, "", ""),
        (
            -9 * DAY,
            -DAY,
            "CertificateExpired",
            'SSL certificate for server "h" expired (2027-01-14 08:00:00 +0000 UTC)',
        ),
        (DAY, 100 * DAY, "CertificateNotYetValid", 'server "h" is not valid before 2027-01-16'),
        (
            -DAY,
            9 * DAY,
            "CertificateExpiring",
            'server "h" is about to expire (2027-01-24 08:00:00 +0000 UTC)',
        ),
    ],
)
def test_dates(begin: float, end: float, reason: str, says: str) -> None:
    leaf = leaf_certificate(tls_secret("s", pair("h", begin=NOW + begin, end=NOW + end)))
    assert isinstance(leaf, LeafCertificate)
    now = [one.problem for one in dated_problems("h", leaf) if one.holds(NOW)]
    assert [one.reason for one in now] == [reason] * bool(reason)
    assert all(says in one.message for one in now), now
    names = named(ingress("i", rule("h"), tls=[tls("s", "h")]), s=tls_secret("s", leaf.pair))
    certificate = names["h"].certificate
    assert certificate is not None and certificate.leaf is not None, "it is shown all the same"
    assert (certificate.problem_at(NOW) or ("",))[0] == reason
