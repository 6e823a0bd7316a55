"""Corefiles: what is read, what is followed, and what a user is told of the rest."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.kinds.core.coredns import CoreDnsFlags, FileSource
from emulab.model.objects import Object
from emulab.plan.coredns.corefile import CONFIGURATION, FORMER, Corefile, Texts, read, texts_of, unheeded
from emulab.plan.coredns.lines import CorefileError, lines_of
from emulab.plan.coredns.syntax import parse
from emulab.servers.configuration import from_json, to_json
from emulab.servers.dns.config import (
    COMMON_LOG,
    AccessPolicy,
    AccessRule,
    AnswerRule,
    AutopathConfig,
    BlockConfig,
    CacheLimits,
    DnsConfig,
    ForwardConfig,
    HostNames,
    HostsConfig,
    LogRule,
    RewriteRule,
    TemplateConfig,
)
from emulab.servers.dns.settings import DnsSettings

STOCK = """
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


def corefile(text: str, **files: str) -> Corefile:
    return read(Texts((("Corefile", text), *files.items())), "10.0.0.2:53")


def test_kubeadms_is_followed_whole() -> None:
    made = corefile(STOCK)
    assert (made.error, made.warnings) == ("", ())
    forward = ForwardConfig(".", ("10.0.0.2:53",), shuffled=True)
    limits = CacheLimits(30, 5, 30, 9984, stale_ttl=0, negative_min=5, failure_ttl=5)
    block = BlockConfig((".",), cluster=True, caches=True, limits=limits, errors=True, forward=(forward,))
    assert made.blocks == (block,) and made.limits == limits
    arpa = ("in-addr.arpa.", "ip6.arpa.")
    domain = {"domain": "cluster.local.", "reverse": arpa, "fallthrough": arpa}
    assert made.cluster == {**domain, "pods": True, "ttl": 30}


def test_stub_domains_hosts_and_names_for_others() -> None:
    """What administrators add (kubernetes.io, Customizing DNS Service); k3s keeps its hosts in the same ConfigMap."""
    made = corefile(
        """
        corp.test:53, Example.NET {   # two zones
            forward . 10.9.0.1 10.9.0.2:5353 dns://[fd00::1]:53 { policy sequential
                except dmz.corp.test
            }
        }
        .:53 {
            hosts /etc/coredns/NodeHosts {
                10.1.1.1 one.test One-Too.test
                ttl 60
                fallthrough
            }
            rewrite stop {
                name regex (.*)\\.coffee\\.test {1}.default.svc.cluster.local
                answer name (.*)\\.default\\.svc\\.cluster\\.local {1}.coffee.test
            }
            rewrite continue name suffix .old.test .new.test answer auto
            rewrite name exact a.test b.test
            template IN A lab.test {
                match "^ip-(?P<a>[0-9]+)\\.lab\\.test\\.$"
                answer "{{ .Name }} 60 IN A 10.0.0.{{ .Group.a }}"
                fallthrough
            }
        }
        """.replace("{ policy sequential", "{\n policy sequential"),
        NodeHosts="10.2.2.2 node1 # the first\n\n# nothing\nfd00::5 node1\n",
    )
    assert made.error == ""
    stub, root = made.blocks
    assert stub.zones == ("corp.test.", "example.net.")
    addresses = ("10.9.0.1:53", "10.9.0.2:5353", "[fd00::1]:53")
    assert stub.forward == (ForwardConfig(".", addresses, ("dmz.corp.test.",)),)
    assert root.hosts == HostsConfig(
        (".",),
        (
            HostNames("10.2.2.2", ("node1.",)),
            HostNames("fd00::5", ("node1.",)),
            HostNames("10.1.1.1", ("one.test.", "one-too.test.")),
        ),
        (".",),
        60,
    )
    answer = AnswerRule("name", r"(.*)\.default\.svc\.cluster\.local", "{1}.coffee.test.")
    assert root.rewrites == (
        RewriteRule("regex", r"(.*)\.coffee\.test", "{1}.default.svc.cluster.local.", answers=(answer,)),
        RewriteRule("suffix", ".old.test.", ".new.test.", auto=True, goes_on=True),
        RewriteRule("exact", "a.test.", "b.test."),
    )
    assert root.templates == (
        TemplateConfig(
            ("lab.test.",),
            "A",
            (r"^ip-(?P<a>[0-9]+)\.lab\.test\.$",),
            ("{{ .Name }} 60 IN A 10.0.0.{{ .Group.a }}",),
            fallthrough=(".",),
        ),
    )
    DnsSettings().changed(from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks))))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dnssec", "line 2: dnssec is not followed"),
        ('log "{remote} {name}"', "line 2: log: a format without a name before it is a name"),
        ('log . "{local} {name}"', "line 2: log: {local} is not followed"),
        ("errors {\nconsolidate 5m .*\n}", "line 3: errors: consolidate is not followed"),
        ("rewrite edns0 local unset 0xffee", "line 2: rewrite edns0 is not followed"),
        ("forward . tls://9.9.9.9", "line 2: forward: tls://9.9.9.9 is not asked"),
        (
            "cache {\ndisable success corp.test\n}",
            "line 3: cache: disable success is not followed for corp.test.",
        ),
        ("template IN A {\nanswer {{.Message}}\n}", "line 3: template: '{{.Message}}' isn't followed"),
        ("forward . {$UPSTREAM}", "line 2: {$UPSTREAM}: UPSTREAM is not set in CoreDNS' pods"),
        ("forward . 10.0.0.1 {\nread_timeout 1s\n}", "line 3: forward: read_timeout is not followed"),
        ("loadbalance weighted file", "line 2: loadbalance: weighted is not followed"),
        ("cache {\nprefetch 10\n}", "line 3: cache: prefetch is not followed"),
        ("autopath @kubernetes", "line 2: autopath: @kubernetes does nothing without pods verified"),
        ("autopath /etc/none", "line 2: autopath: there are no search domains in /etc/none"),
        ("forward . 10.0.0.1 {\ntls\n}", "line 3: forward: tls is not followed"),
        ("kubernetes {\nzonal\n}", "line 3: kubernetes: zonal is not followed"),
        ("hosts /etc/hosts2", "line 2: hosts: there is no /etc/hosts2"),
    ],
)
def test_what_is_not_followed_is_told(line: str, said: str) -> None:
    made = corefile(". {\n" + line + "\n}\n")
    assert made.error == ""
    assert any(f"line {number}: {text}".startswith(said) for number, text in made.warnings), made.warnings


def test_blocks_that_choose_otherwise_are_told() -> None:
    one = "{} {{\n kubernetes {} {{\n {}\n}}\n}}\n"
    made = corefile(one.format("a.test", "c.test", "labels a=b") + one.format(".", "c.test", "ttl 5"))
    alike = "kubernetes: all server blocks have"
    assert made.warnings == ((7, f"{alike} labels of the first, in line 2"),)
    first = one.format("a.test", "a.test 10.0.0.0/8", "pods verified\nttl 7")
    made = corefile(first + one.format(".", "c.test fd00::/8", "pods insecure\nnamespaces a"))
    assert made.warnings == ((8, f"{alike} the zone, pods, ttl, namespaces of the first, in line 2"),)
    assert (made.cluster["domain"], made.cluster["ttl"], made.verified) == ("a.test.", 7, True)
    assert made.cluster["reverse"] == ("10.in-addr.arpa.", "d.f.ip6.arpa.") and "exposed" not in made.cluster
    assert not corefile(first + one.format(".", "a.test", "ttl 7\npods verified")).warnings
    made = corefile(one.format(".", "c.test", "labels a=b") + "a.test {\n forward . 10.0.0.1\n}\n")
    assert not made.warnings


def test_blocks_elsewhere_and_clusters_without_names_are_told() -> None:
    made = corefile("tls://. {\n}\n.:5353 {\n}\n.:53 {\n forward . 10.0.0.1\n}\n")
    assert [block.zones for block in made.blocks] == [(".",)]
    texts = [text for _, text in made.warnings]
    assert [text.split(":")[0] for text in texts] == ["server block tls", "server block .", "kubernetes"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (". {\n errors\n", "line 2: a } is missing"),
        ("errors }\n", "line 1"),
        (". {\n kubernetes {\n labels a in b\n}\n}", "line 3: labels: "),
        (". {\n kubernetes {\n labels a!=b\n}\n}", "line 3: labels: != is no operator here"),
        (". {\n kubernetes {\n namespace_labels a > 1\n}\n}", "line 3: namespace_labels: > is no operator"),
        (
            ". {\n kubernetes a.test {\n namespaces x\n namespace_labels a=b\n}\n}",
            "line 2: kubernetes: namespaces and namespace_labels cannot both be set",
        ),
        (". {\n}\nb", "line 3: no { after b"),
        ('. {\n template IN A {\n answer "x\n}\n}', "line 3: a quotation that doesn't end"),
        (". {\n cache {\n serve_stale soon\n}\n}", "line 3: serve_stale: 'soon' is no duration"),
        (". {\n forward .\n}", "line 2: forward: a domain and a server are needed"),
        (". {\n rewrite name a\n}", "line 2: rewrite name: two names are needed"),
        (". {\n rewrite a.test b.test\n}", "line 2: rewrite: invalid rule type 'a.test'"),
        (". {\n rewrite name glob a b\n}", "line 2: rewrite name: glob is none of exact, prefix"),
        (". {\n rewrite name exact a b c\n}", "line 2: rewrite name: c stands where answer is expected"),
        (". {\n rewrite name regex (a) {1} answer name auto\n}", "line 2: rewrite name: answer name auto"),
        (
            ". {\n rewrite name regex (.*)a {1} answer auto answer name (.*) {1}\n}",
            "line 2: rewrite name: answer auto cannot",
        ),
        (". {\n rewrite name regex (.*)a {1}{2}\n}", "line 2: rewrite: {1}{2} has more groups than (.*)a"),
        (". {\n rewrite name regex a(?=b) c\n}", "line 2: rewrite: 'a(?=b)' is no regular expression"),
        (". {\n hosts {\n fallthrough_unsupported\n }\n}", "line 2: hosts: fallthrough_unsupported requires"),
        (". {\n cache {\n servfail 6m\n }\n}", "line 3: servfail: caching SERVFAIL responses over 5 minutes"),
        (". {\n rewrite name regex (a b\n}", "line 2: rewrite: '(a' is no regular expression"),
        (". {\n template IN A {\n answer {{\n}\n}", "line 3: answer: could not compile template"),
        (". {\n forwrad . 10.0.0.1\n}", "line 2: unknown directive 'forwrad'; did you mean forward?"),
        (". {\n cache\n cache\n}", "line 3: cache: a server block has it once at most"),
        ("a.test {\n}\na.test:53 {\n}", "line 3: cannot serve a.test:53: it is already defined"),
        (". {\n cache 0\n}", "line 2: cache: a TTL of 0"),
        (". {\n cache {\n prefetch 5 1m 99%\n}\n}", "line 3: prefetch: 99% is no percentage"),
        (". {\n forward . 10.0.0.1 {\n max_concurent 9\n}\n}", "line 3: forward: unknown property"),
        (". {\n forward . 10.0.0.1 {\n max_age 9s\n}\n}", "line 2: forward: max_age must not be less"),
        (". {\n forward . 10.0.0.1 {\n policy any\n}\n}", "line 3: policy: any is none of random"),
        (". {\n kubernetes cluster.local {\n pods maybe\n}\n}", "line 3: pods: maybe is none of disabled"),
        (". {\n kubernetes in-addr.arpa\n}", "line 2: kubernetes: a zone is needed"),
        (". {\n hosts {\n fallthrough\n 10.0.0.1 a\n}\n}", "line 4: hosts: unknown property '10.0.0.1'"),
        (". {\n health bla\n}", "line 2: health: bla is no address with a port"),
        (". {\n health {\n lameduck 5\n}\n}", "line 3: lameduck: '5' is no duration"),
        (". {\n bufsize 64\n}", "line 2: bufsize: 64 is not within 512 and 4096"),
        (". {\n errors file\n}", "line 2: errors: file: it writes to stdout alone"),
        (". {\n import nothing\n}", "line 2: import nothing: there is no such snippet or file"),
        ("(a) {\n import a\n}\n. {\n import a\n}", "line 2: import a: imports without end"),
        (". {\n rewrite type ANY NONSENSE\n}", "line 2: rewrite: invalid type 'NONSENSE'"),
        (". {\n rewrite ttl a.test 60-30\n}", "line 2: rewrite: invalid TTL '60-30'"),
        (". {\n rewrite ttl a.test -\n}", "line 2: rewrite: invalid TTL '-'"),
        (". {\n rewrite rcode a.test OK NOERROR\n}", "line 2: rewrite: OK is none of NOERROR"),
        (". {\n rewrite rcode a.test\n}", "line 2: rewrite: rcode rules have a name"),
        (". {\n template IN BOGUS\n}", "line 2: template: BOGUS is no type"),
        (". {\n template IN A {\n rcode NO\n}\n}", "line 3: template: rcode NO is none of"),
        (". {\n log {\n class none\n}\n}", "line 3: log: class is all, success, denial or error"),
        (". {\n autopath\n}", "line 2: autopath: no resolv-conf specified"),
        (". {\n autopath @file\n}", "line 2: autopath: file does not implement the AutoPather interface"),
        ("a..b {\n}", "line 1: 'a..b' is no DNS zone"),
        ("{\n}", "line 1: a server block without a name"),
        (". {\n acl {\n refuse\n}\n}", "line 3: acl: unexpected token 'refuse'; expect allow, block"),
        (". {\n acl {\n block from all\n}\n}", "line 3: acl: unexpected token 'from'; expect 'type | net'"),
        (". {\n acl {\n block type net *\n}\n}", "line 3: acl: no token specified in 'type' section"),
        (". {\n acl {\n block type NO\n}\n}", "line 3: acl: unexpected token 'NO'; expect legal QTYPE"),
        (". {\n acl {\n block net 10.0.0.0/33\n}\n}", "line 3: acl: illegal CIDR notation '10.0.0.0/33'"),
        (
            ". {\n acl {\n block net 10.0.0.0/255.0.0.0\n}\n}",
            "line 3: acl: illegal CIDR notation '10.0.0.0/2",
        ),
        (". {\n acl {\n block net fe80::1%eth0\n}\n}", "line 3: acl: illegal CIDR notation 'fe80::1%eth0'"),
        (". {\n local {\n localhost_prefix no\n}\n}", "line 3: localhost_prefix: no is none of on, off"),
        (". {\n minimal x\n}", "line 2: minimal: wrong argument count"),
        (". {\n cache ²\n}", "line 2: cache: '²' is no DNS zone"),
        (". {\n health :²\n}", "line 2: health: :² is no address with a port"),
        (". {\n rewrite ttl a.test ²\n}", "line 2: rewrite: invalid TTL '²'"),
        (". {\n bufsize ²\n}", "line 2: bufsize: '²' is no number"),
        (".:² {\n}", "line 1: '.:²' is no DNS zone"),
        (". {\n forward . a27.0.0.1\n}", "line 2: forward: a27.0.0.1 is neither an IP address nor a file"),
        (". {\n forward . 10.0.0.300:53\n}", "line 2: forward: 10.0.0.300:53 is neither an IP address"),
        (". {\n forward . /etc/coredns/none\n}", "line 2: forward: /etc/coredns/none is neither"),
        (". {\n forward . grpc://10.0.0.1\n}", "line 2: forward: 'grpc' is not supported"),
        (". {\n forward . https://10.0.0.1/q\n}", "line 2: forward: paths are not allowed in HTTPS"),
        (f". {{\n forward . {'10.0.0.1 ' * 16}\n}}", "line 2: forward: more than 15 servers: 16"),
        (
            ". {\n forward . tls://10.0.0.1%a.test {\n tls_servername b.test\n}\n}",
            "line 3: tls_servername: the servers of forward have TLS servernames of their own",
        ),
        (". {\n forward . 10.0.0.1 {\n read_timeout 0s\n}\n}", "line 3: read_timeout: must be positive"),
        (". {\n forward . 10.0.0.1 {\n next NO\n}\n}", "line 3: next: NO is not a response code"),
        (". {\n forward . 10.0.0.1 {\n failover NoError\n}\n}", "line 3: failover: NoError is not a"),
        (". {\n forward . 10.0.0.1 {\n resolver dns.test\n}\n}", "line 3: resolver: dns.test is no IP"),
        (". {\n forward . 10.0.0.1 {\n source_address a\n}\n}", "line 3: source_address: a is no IP"),
        (". {\n cache {\n serve_stale 1h verify soon\n}\n}", "line 3: serve_stale: 'soon' is no duration"),
        (". {\n cache {\n serve_stale 1h immediate 1ms\n}\n}", "line 3: serve_stale: a TTL of 1ms"),
        (". {\n cache {\n serve_stale 1h verify 1s 1s 6m\n}\n}", "line 3: serve_stale: failure recheck"),
        (". {\n cache {\n serve_stale 1h immediate 1s 1s x\n}\n}", "line 3: serve_stale: wrong argument"),
        (". {\n cache {\n serve_stale_policy prefer_positive\n}\n}", "line 3: serve_stale_policy: requires"),
        (". {\n cache {\n serve_stale_policy all\n}\n}", "line 3: serve_stale_policy: all is none of"),
        (
            ". {\n kubernetes a.test {\n multicluster b.test\n}\n}",
            "line 3: kubernetes: is not authoritative for the multicluster zone b.test.",
        ),
        (". {\n kubernetes a.test {\n zonal\n noendpoints\n}\n}", "line 2: kubernetes: zonal requires"),
        (". {\n kubernetes a.test {\n apiserver_qps -1\n}\n}", "line 3: apiserver_qps: -1 is no number"),
        (". {\n errors {\n consolidate 1m ())\n}\n}", "line 3: consolidate: '())' is no regular expression"),
        (". {\n autopath kubernetes\n}", "line 2: autopath: failed to parse 'kubernetes': no such file"),
        (
            '. {\n template IN A {\n answer "{{ lower .Name }}"\n}\n}',
            "line 3: answer: could not compile template: function 'lower' not defined",
        ),
        (". {\n template IN A {\n var 1a 1\n}\n}", "line 3: var: invalid variable name '1a'"),
        (". {\n template IN A {\n ederror x\n}\n}", "line 3: ederror: 'x' is no number"),
    ],
)
def test_what_coredns_does_not_start_with(text: str, said: str) -> None:
    assert corefile(text).error.startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "cache {\n serve_stale 0 VERIFY 100ms 30s 1m\n serve_stale_policy PREFER_POSITIVE\n}",
        "kubernetes a.test b.test {\n multicluster b.test\n ignore empty_service and more\n startup_timeout 9s 1\n}",
        "kubernetes a.test {\n apiserver_qps 2.5e1\n}",
        "forward . dns.test tls://[fd00::1%a.test]:853 https://10.0.0.1",
        "forward . 10.0.0.1 {\n next SERVFAIL NotAuth BADCOOKIE\n failover NOTIMPL\n}",
        "rewrite rcode a.test YXDOMAIN 9",
        "rewrite type SVCB URI",
        "template ANY SSHFP {\n rcode NXDOMAIN\n}",
        "acl {\n block type SPF AXFR net *\n}",
        "template IN A {\n rcode NOTZONE\n}",
        "forward . 10.0.0.1 {\n next nxdomain\n resolver 10.0.0.1:53 fd00::1\n source_address 10.0.0.9\n}",
        'template IN A {\n answer "{{ if eq .Zone `a(b)` }}{{ printf \\"%s\\" .Name }}{{ end }}{{/* lower */}}"\n}',
    ],
)
def test_what_coredns_starts_with(text: str) -> None:
    assert corefile(". {\n" + text + "\n}\n").error == ""


def test_formats_of_logs() -> None:
    """The last of several words is one where it has a brace; one that is alone is a name (plugin/log/setup.go)."""
    made = corefile(
        """. {
        log a.test b.test "{name} {rcode}"
        log . {combined}
        log "{remote} {name}"
        log
        }"""
    )
    first, second, last = made.blocks[0].logs
    assert first == LogRule(("a.test.", "b.test."), ("all",), "{name} {rcode}")
    assert second.format == f'{COMMON_LOG} "{{>opcode}}"' and last == LogRule((".",), ("all",))


def test_servers_of_a_file_are_asked() -> None:
    """A word of forward is the file of that name where there is one, as a resolv.conf beside the Corefile."""
    files = {"up.conf": "search a.test\nnameserver 10.9.0.1\nnameserver fd00::9\n"}
    for path in ("/etc/coredns/up.conf", "up.conf"):
        made = corefile(f". {{\n forward . {path} 10.9.0.2\n}}\n", **files)
        assert made.blocks[0].forward[0].servers == ("10.9.0.1:53", "[fd00::9]:53", "10.9.0.2:53")
    files = {"zone.conf": "nameserver fe80::1%eth0\n", "none.conf": "# nameserver 10.9.0.1\n"}
    made = corefile(". {\n forward . none.conf zone.conf\n}\n", **files)
    assert made.blocks[0].forward[0].servers == ("[fe80::1]:53",)
    made = corefile(". {\n forward . none.conf\n}\n", **files)
    assert made.error == "line 2: forward: no nameservers found in none.conf"
    other = corefile(". {\n forward . /run/systemd/resolve/resolv.conf\n}\n")
    assert (
        other.blocks[0].forward[0].servers
        == corefile(". {\n forward . /etc/resolv.conf\n}\n").blocks[0].forward[0].servers
    )
    assert "/run/systemd/resolve/resolv.conf isn't read" in other.warnings[0][1]


def test_who_may_ask_and_how_much_is_answered() -> None:
    made = corefile(
        """. {
        minimal
        local {
            localhost_prefix off
        }
        acl a.test {
            allow net 10.0.0.1 fd00::/8
            Block type A AAAA net *
            block type A type * net fd00::/8 net 10.0.0.0/8
            block net 10.0.0.0/8 net * type TXT
            filter
        }
        acl {
            drop net 192.0.2.0/24
        }
        }"""
    )
    assert not made.error
    (block,) = made.blocks
    assert (block.minimal, block.local, block.localhost_prefix) == (True, True, False)
    assert block.access == (
        AccessRule(
            ("a.test.",),
            (
                AccessPolicy("allow", (), ("10.0.0.1", "fd00::/8")),
                AccessPolicy("block", ("A", "AAAA")),
                AccessPolicy("block", (), ("fd00::/8", "10.0.0.0/8")),
                AccessPolicy("block", ("TXT",)),
                AccessPolicy("filter"),
            ),
        ),
        AccessRule((".",), (AccessPolicy("drop", (), ("192.0.2.0/24",)),)),
    )
    DnsSettings().changed(from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks))))


def test_what_of_questions_and_answers_is_rewritten() -> None:
    made = corefile(
        """. {
        rewrite continue type any HINFO
        rewrite ttl Suffix corp.test 30-
        rewrite stop rcode Regex (.*)[.]corp[.]test SERVFAIL NOERROR
        rewrite name regex (.*)\\.a\\.test {1}.b.test answer name (.*)\\.b\\.test {1}.a.test value (.*)\\.c {1}.d
        }"""
    )
    assert not made.error
    kind, ttl, rcode, name = made.blocks[0].rewrites
    assert kind == RewriteRule("exact", "ANY", "HINFO", goes_on=True, field="type")
    assert (ttl.matching, ttl.old, ttl.field, ttl.low, ttl.high) == (
        "suffix",
        "corp.test.",
        "ttl",
        30,
        2**31 - 1,
    )
    assert (rcode.field, rcode.low, rcode.high, rcode.goes_on) == ("rcode", 2, 0, False)
    assert name.answers == (
        AnswerRule("name", r"(.*)\.b\.test", "{1}.a.test."),
        AnswerRule("value", r"(.*)\.c", "{1}.d."),
    )


def test_a_lame_duck_has_its_time() -> None:
    made = corefile(". {\n health {\n lameduck 5s\n }\n}\na.test {\n health :8081\n}")
    assert (made.lameduck, corefile(". {\n health\n}").lameduck) == (5.0, 0.0)


def test_parts_of_names_end_with_a_label() -> None:
    """CoreDNS gives each name a dot at its end (`Normalize`), so no rule finds a part of a label."""
    made = corefile(". {\n rewrite name substring .prod .app\n rewrite Continue Name Prefix old new\n}")
    assert [(rule.old, rule.new) for rule in made.blocks[0].rewrites] == [
        (".prod.", ".app."),
        ("old.", "new."),
    ]


ZONE = """
$TTL 1h
@   IN SOA ns hostmaster.corp.test. (
        2024010101 ; serial
        2h 30m 4w 5m )
    NS  ns
    300 IN MX 10 mail
ns  A   10.0.0.53
*.wild.corp.test. CNAME *.any_thing
txt TXT "two words; no comment" plain
_sip._tcp 1m SRV 0 5 5060 ns.corp.test.
alias.sub A 10.0.0.7
key SSHFP 1 1 00
far.test. A 10.0.0.8
$ORIGIN deep.corp.test.
six AAAA fd00::6
"""


def test_a_zone_file_is_read() -> None:
    made = corefile(
        ". {\n file /etc/coredns/db.corp corp.test 10.0.0.0/24 {\n fallthrough\n }\n file db.none none.test\n}",
        **{"db.corp": ZONE + "$ORIGIN 0.0.10.in-addr.arpa.\n@ SOA a b 1 2 3 4 5\n53 PTR ns.corp.test.\n"},
    )
    assert not made.error
    corp, reverse, none = made.blocks[0].files
    soa = "ns.corp.test. hostmaster.corp.test. 2024010101 7200 1800 2419200 300"
    assert corp.origin == "corp.test." and corp.records == (
        ("corp.test.", "SOA", soa, 3600),
        ("corp.test.", "NS", "ns.corp.test.", 3600),
        ("corp.test.", "MX", "10 mail.corp.test.", 300),
        ("ns.corp.test.", "A", "10.0.0.53", 3600),
        ("*.wild.corp.test.", "CNAME", "*.any_thing.corp.test.", 3600),
        ("txt.corp.test.", "TXT", '"two words; no comment" "plain"', 3600),
        ("_sip._tcp.corp.test.", "SRV", "0 5 5060 ns.corp.test.", 60),
        ("alias.sub.corp.test.", "A", "10.0.0.7", 3600),
        ("six.deep.corp.test.", "AAAA", "fd00::6", 3600),
    )
    assert reverse.records[0][:2] == ("0.0.10.in-addr.arpa.", "SOA")  # as names are relative
    assert reverse.records[-1][:3] == ("53.0.0.10.in-addr.arpa.", "PTR", "ns.corp.test.")
    assert (none.origin, none.records, made.blocks[0].files_through) == ("none.test.", (), (".",))
    told = {f"line {line}: {what}" for line, what in made.warnings}
    assert "line 5: file: there is no db.none: a key of that name in the ConfigMap is read for it;" in str(
        told
    )
    assert (
        "line 13 of db.corp: file: type SSHFP is not followed; the record of key.corp.test. is left out"
        in told
    )
    assert "line 14 of db.corp: file: far.test. is outside of corp.test.; the record is left out" in told
    DnsSettings().changed(from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@ 60 SOA a b 1 2 3 4 5\nx MX a b\n", "line 2 of db: file: MX: "),
        ("@ IN A 10.0.0.1\n", "line 2: file: db has no SOA record for origin corp.test."),
        ("@ 60 SOA a b 1 2 3 4\n", "line 1 of db: file: a.corp.test. b.corp.test. 1 2 3 4 is no data of SOA"),
        ("\nx IN A 10.0.0\n", 'line 2 of db: file: A: "10.0.0" is not an IPv4 address'),
        ("x NONSENSE 1\n", "line 1 of db: file: NONSENSE is no type of records"),
        ("x\n", "line 1 of db: file: a record without a type"),
        ("x TXT (\n", "line 1 of db: file: a ) is missing"),
        ("x TXT )\n", "line 1 of db: file: a ) without its ("),
        ('x TXT "a\n', "line 1 of db: file: a quotation that doesn't end"),
        ("$TTL x\n", "line 1 of db: file: $TTL x is no directive"),
        ("@ SOA a b 1 2 3 4 5\n", "line 1 of db: file: missing TTL with no previous value"),
        pytest.param(
            f"x {'9' * 5000} A 10.0.0.1\n",
            f"line 1 of db: file: {'9' * 20} is more seconds than a record",
            id="digits",
        ),
        ("@ IN SOA a b 4294967296 2 3 4 5\n", "line 1 of db: file: 4294967296 is more"),
        (
            "@ IN SOA a..b c 1 2 3 4 5\n",
            "line 1 of db: file: a..b.corp.test. c.corp.test. 1 2 3 4 5 is no data",
        ),
        (f"@ IN SOA {'a' * 64} b 1 2 3 4 5\n", "line 1 of db: file: aaaa"),
    ],
)
def test_what_is_no_zone_file(text: str, said: str) -> None:
    assert corefile("corp.test {\n file db\n}", db=text).error.startswith(said)


def test_texts_and_ttls_of_a_zone_file() -> None:
    """As miekg/dns reads them: what a backslash stands before, texts too long for one string, and TTLs without $TTL."""
    key = "p=" + "A" * 300
    text = (
        "@ IN SOA a b 1 2 3 4 5\n A 10.0.0.9\n"  # neither needs a TTL: one has a class, the other no owner
        f'k 300 TXT "v=DKIM1\\; k=rsa" "{key}"\nbare TXT v=DKIM1\\; \\"x\\" a\\065 ; nothing\nx\\.y A 10.0.0.1\n'
        'key 60 SSHFP 1 1 00\nlast A 10.0.0.1\noctets TXT "\\\\200" \\200\nquoted TXT \\\\200\n'
    )
    made = corefile("corp.test {\n file db\n}", db=text)
    assert not made.error
    assert [(name, data, ttl) for name, _, data, ttl in made.blocks[0].files[0].records[1:]] == [
        ("corp.test.", "10.0.0.9", 0),
        ("k.corp.test.", f'"v=DKIM1; k=rsa" "{key[:255]}" "{key[255:]}"', 300),
        ("bare.corp.test.", '"v=DKIM1;" "\\"x\\"" "aA"', 300),
        ("last.corp.test.", "10.0.0.1", 60),
        ("quoted.corp.test.", '"\\\\200"', 60),
    ]
    assert made.blocks[0].files[0].records[0].ttl == 0
    told = [what for _, what in made.warnings if "left out" in what]
    assert [what.partition(" is not")[0] for what in told] == [
        "file: such a name",
        "file: type SSHFP",
        "file: a text of octets beyond ASCII",
    ]
    settings = DnsSettings().changed(from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks))))
    assert settings.given


def test_bounds_of_what_a_cache_keeps() -> None:
    made = corefile(". {\n cache 30 {\n denial 9984 60 20\n success 9984 90 7\n servfail 10s\n }\n}")
    expected = CacheLimits(90, 7, 60, 9984, stale_ttl=0, negative_min=20, failure_ttl=10)
    assert (made.limits, made.error) == (expected, "")
    assert not any("servfail" in what for _, what in made.warnings)
    assert corefile(". {\n cache 3\n}").limits.negative_min == 3


def test_search_domains_are_those_of_pods_or_of_a_file() -> None:
    of_pods = corefile(
        ". {\n autopath cluster.local @kubernetes\n kubernetes cluster.local {\n  pods verified\n }\n}\n"
    )
    assert of_pods.blocks[0].autopath == AutopathConfig(("cluster.local.",), of_pods=True)
    assert of_pods.verified and not of_pods.warnings
    texts = Texts(
        (("Corefile", ". {\n autopath /etc/resolv.test\n}\n"), ("resolv.test", "search a.test b.test\n"))
    )
    assert read(texts, "10.0.0.2:53").blocks[0].autopath == AutopathConfig((".",), ("a.test.", "b.test."))


def test_each_block_has_a_cache_with_bounds_of_its_own_and_may_ask_over_tcp() -> None:
    blocks = "a.test {\n cache {\n denial 9984 7\n }\n forward . 10.0.0.1 {\n force_tcp\n }\n}\n. {\n cache 60\n}\n"
    made = corefile(blocks)
    own, rest = made.blocks
    assert own.limits and rest.limits
    assert (own.limits.negative_ttl, rest.limits.negative_ttl, rest.limits.max_ttl) == (7, 60, 60)
    assert own.forward[0].stream and not made.error
    assert [text for _, text in made.warnings if "cache" in text] == []


def test_snippets_and_files_beside_are_taken_in() -> None:
    """As AKS, k3s and others have it: the ConfigMap coredns-custom is the folder `custom`."""
    text = """
        (shared) {
            errors
            cache 60 corp.test
        }
        .:53 {
            import shared
            import /etc/coredns/custom/*.override
            kubernetes cluster.local {
                endpoint_pod_names
            }
            health :8081
            bufsize 512
            any
        }
        import custom/*.server
        import custom/*.nothing
    """
    override = "hosts {\n 10.1.1.1 a.test\n fallthrough\n}\n"
    server = "b.test:53 {\n import shared\n forward . 10.0.0.9\n dnssec\n}\n"
    texts = Texts(
        (
            ("Corefile", text),
            ("custom/a.override", override),
            ("custom/b.server", server),
            ("c.server", "x {"),
        )
    )
    made = read(texts, "10.0.0.2:53")
    assert made.error == "" and made.pages == {"8081": "health"} and made.pod_names
    (line, said), *more = made.warnings
    assert (f"{line}", said.partition(";")[0]) == (
        "4 of custom/b.server",
        "dnssec is not followed",
    ) and not more
    root, other = made.blocks
    # Beside them stands /etc/hosts, which the kubelet has written, unless the Corefile names another file.
    assert root.hosts and root.hosts.entries[0] == HostNames("127.0.0.1", ("localhost.",))
    assert len(root.hosts.entries) == 7 and root.hosts.entries[-1] == HostNames("10.1.1.1", ("a.test.",))
    assert (root.cached, root.size, root.any, other.zones) == (("corp.test.",), 512, True, ("b.test.",))
    assert other.errors and other.forward[0].servers == ("10.0.0.9:53",)
    DnsSettings().changed(from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks))))


@pytest.mark.parametrize(
    ("own", "custom", "said"),
    [
        (None, {"log.override": "log {\n class eror\n}"}, "line 2 of custom/log.override: log: class is"),
        (None, {"x.server": "x.test {\n dnssec\n}"}, "line 2 of custom/x.server: dnssec is not followed"),
        (STOCK, {"log.override": "log"}, "nothing of it is read"),
        (None, {"log.override": "log"}, ""),
        (
            None,
            {"log.conf": "log"},
            "data[log.conf]: isn't read: no import of the Corefile is of such a name",
        ),
        (None, {"log.override": "log", "x.server": "# x.test"}, ""),
    ],
)
def test_what_stands_beside_is_read_without_a_corefile_of_ones_own(
    own: str | None, custom: dict[str, str], said: str
) -> None:
    def config_map(name: str, data: dict[str, str]) -> Object:
        names = {"name": name, "namespace": "kube-system"}
        return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": data})

    there = {CONFIGURATION: config_map("coredns", {"Corefile": own})} if own else {}
    found = [
        finding.line()
        for finding in unheeded(config_map("coredns-custom", custom), there.get, [CoreDnsFlags()])
    ]
    assert len(found) == bool(said) and all(said in line for line in found)


def test_a_network_is_the_zones_of_its_reverse_names() -> None:
    """As plugin/normalize.go has it; kubeadm's of old and kops' say it."""
    made = corefile("10.9.0.0/16 {\n kubernetes cluster.local 10.96.0.0/14 fd00::/7 192.0.2.0/24\n}\n")
    assert not made.error and made.blocks[0].zones == ("9.10.in-addr.arpa.",)
    reverse = [f"{one}.10.in-addr.arpa." for one in range(96, 100)] + ["c.f.ip6.arpa.", "d.f.ip6.arpa."]
    assert made.cluster["reverse"] == (*reverse, "2.0.192.in-addr.arpa.")
    forward = corefile(". {\n forward 10.9.3.0/18 10.0.0.1\n}\n")
    assert forward.blocks[0].forward[0].origin == "0.9.10.in-addr.arpa."
    assert corefile("10.9.0.0/33 {\n}\n").error == "line 1: '10.9.0.0/33' is neither a DNS zone nor a network"


def test_a_server_of_ones_own_listens_where_its_corefile_says() -> None:
    texts = Texts((("Corefile", "a.test:5353 {\n errors\n}\n. {\n errors\n}\ntls://b.test {\n}\n"),))
    own = read(texts, "10.0.0.2:53")
    assert (own.port, [block.zones for block in own.blocks]) == (53, [(".",)])
    chosen = read(texts, "10.0.0.2:53", 0, 5353)
    assert (chosen.port, [block.zones for block in chosen.blocks]) == (5353, [("a.test.",), (".",)])
    alone = read(Texts((("Corefile", ".:1053 {\n errors\n}\n"),)), "", 0)
    assert (alone.port, len(alone.blocks)) == (1053, 1)


def test_a_corefile_that_nobody_reads_is_told() -> None:
    def config_map(name: str) -> Object:
        data = {"Corefile": ".:1053 {\n dnssec\n reload\n}\n"}
        names = {"name": name, "namespace": "kube-system"}
        return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": data})

    mine = CoreDnsFlags(config_map="mine", own=False)
    (unread,) = unheeded(config_map("rke2-coredns"), {}.get, [mine, CoreDnsFlags()])
    assert "isn't read: no container of CoreDNS has it mounted" in unread.line()
    (nothing,) = unheeded(config_map("mine"), {}.get, [mine._replace(key="other")])
    assert "data: has no other: CoreDNS doesn't start with it" in nothing.line()
    found = [finding.line() for finding in unheeded(config_map("mine"), {}.get, [mine, mine])]
    assert "dnssec is not followed" in found[0] and len(found) == 2


def test_changes_that_nobody_would_read_are_told_of() -> None:
    def told(text: str) -> list[str]:
        names = {"name": "coredns", "namespace": "kube-system"}
        o = Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": {"Corefile": text}})
        return [finding.line() for finding in unheeded(o, {}.get, [CoreDnsFlags()])]

    probed = "health\n ready\n"
    (unread,) = told(f". {{\n kubernetes c.test\n {probed}}}\n")
    assert "data.Corefile: no server block has reload: " in unread
    assert not told(f". {{\n kubernetes c.test\n}}\na.test {{\n reload 30s 0s\n {probed}}}\n")
    unready, dead = told(". {\n kubernetes c.test\n reload\n health :8081\n}\n")
    assert "data.Corefile: no server block has ready on port 8181, where the pods are asked" in unready
    assert "data.Corefile: no server block has health on port 8080, where the pods are asked" in dead
    assert corefile(". {\n reload 1s\n}\n").error == "line 2: reload: an interval is 2 seconds at least"
    assert "a jitter is 0, or" in corefile(". {\n reload 4s 500ms\n}\n").error


def test_a_corefile_and_what_it_imports_may_be_of_several_objects() -> None:
    """As of a projected volume."""

    def of_edge(kind: str, name: str, data: dict[str, str]) -> Object:
        names = {"name": name, "namespace": "edge"}
        return Object({"apiVersion": "v1", "kind": kind, "metadata": names, "data": data})

    hosts = b64encode(b"10.1.1.1 nas.test\n").decode()
    objects = [
        of_edge(
            "ConfigMap",
            "dns",
            {"Corefile": ". {\n import *.conf\n hosts /etc/coredns/hosts.txt\n reload\n}\n"},
        ),
        of_edge("ConfigMap", "more", {"a.conf": "dnssec\n", "b.txt": ""}),
        of_edge("Secret", "s", {"hosts": hosts}),
    ]
    there = {o.key: o for o in objects}
    beside = (FileSource("ConfigMap", "more"), FileSource("Secret", "s", (("hosts", "hosts.txt"),)))
    for flags in (  # whichever of them is taken for the Corefile's
        CoreDnsFlags("edge", "dns", own=False, beside=beside),
        CoreDnsFlags("edge", "more", own=False, beside=(FileSource("ConfigMap", "dns"), *beside[1:])),
    ):
        texts = texts_of(there.get, flags, "c.test")
        assert texts is not None
        (block,) = read(texts, "192.0.2.1").blocks
        assert block.hosts and [entry.address for entry in block.hosts.entries] == ["10.1.1.1"]
    flags = CoreDnsFlags("edge", "dns", own=False, beside=beside)
    found = [[f.line() for f in unheeded(o, there.get, [flags])] for o in objects[:2]]
    assert ["kubernetes: no server block" in line for line in found[0]] == [True]
    unread, dnssec = found[1]
    assert "b.txt]: isn't read: no import" in unread and "line 1 of a.conf: dnssec is not" in dnssec
    alike = of_edge("Secret", "dns", {"hosts.txt": hosts, "more.txt": hosts})
    flags = flags._replace(beside=(beside[0], FileSource("Secret", "dns")))
    told = [f.line() for f in unheeded(objects[0], {**there, alike.key: alike}.get, [flags])]
    assert len(told) == 1 and "data.Corefile: line 1: kubernetes: no server" in told[0], told


def kube_dns(**data: str) -> Object:
    names = {"name": "kube-dns", "namespace": "kube-system"}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": names, "data": data})


def test_stub_domains_of_kube_dns() -> None:
    """kubernetes.io, Customizing DNS Service, as it was for kube-dns, and is on GKE."""
    o = kube_dns(
        stubDomains='{"corp.test": ["10.9.0.1", "10.9.0.2:5353"]}', upstreamNameservers='["10.9.0.3"]'
    )
    texts = texts_of({FORMER: o}.get, CoreDnsFlags(), "c.test")
    assert texts is not None and not list(unheeded(o, {}.get, []))
    made = read(texts, "10.0.0.2:53")
    root, stub = made.blocks
    assert not made.error and made.cluster["domain"] == "c.test."
    assert (root.forward[0].servers, stub.forward[0].servers) == (
        ("10.9.0.3:53",),
        ("10.9.0.1:53", "10.9.0.2:5353"),
    )
    assert texts_of({}.get, CoreDnsFlags(), "c.test") is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"stubDomains": "{"}, "data.stubDomains: is no JSON"),
        ({"stubDomains": '["a"]'}, "data.stubDomains: is no mapping of domains"),
        ({"stubDomains": '{"a } b": ["10.0.0.1"]}'}, "data.stubDomains: is no mapping of domains"),
        ({"stubDomains": '{"a.test": []}'}, "data.stubDomains: is no mapping of domains"),
        ({"upstreamNameservers": '["dns.test"]'}, "data.upstreamNameservers: is no list of at most 3"),
        ({"federations": "x"}, "data.federations: isn't followed"),
        ({"stubDomains": "[" * 10_000}, "data.stubDomains: is no JSON"),
        ({"stubDomains": '{"a.test": ["10.0.0.1:99999"]}'}, "data.stubDomains: is no mapping of domains"),
        (
            {"stubDomains": '{"a.test": ["fd00::1"], "A.test.": ["fd00::1"]}'},
            "data.stubDomains: has a.test. twice",
        ),
    ],
)
def test_what_of_kube_dns_can_not_be_read(data: dict[str, str], said: str) -> None:
    o = kube_dns(**data)
    (found,) = unheeded(o, {}.get, [])
    assert said in found.line()
    texts = texts_of({FORMER: o}.get, CoreDnsFlags(), "c.test")
    assert texts is not None and not read(texts, "10.0.0.2:53").error


def test_ports_that_there_are_not_are_not_asked() -> None:
    servers = ("10.0.0.1:²", "10.0.0.1:65536", "[fd00::1]:0", "[fd00::1]:65535")
    made = corefile(f". {{\n forward . {' '.join(servers)}\n}}\n")
    assert made.blocks[0].forward[0].servers == servers[-1:]
    assert [text.split()[1] for _, text in made.warnings[:3]] == [*servers[:-1]]


def test_variables_are_those_of_the_container() -> None:
    texts = Texts((("Corefile", "{$ZONE} {\n forward . {%UP%}\n}\n"),))
    made = read(texts, "", 53, 53, (("ZONE", "a.test"), ("UP", "fd00::1")))
    assert (made.blocks[0].zones, made.blocks[0].forward[0].servers) == (("a.test.",), ("[fd00::1]:53",))
    assert not any("not set" in text for _, text in made.warnings)


def test_a_comment_begins_within_a_word() -> None:
    """As Caddy's lexer has it, which goes on behind the next space."""
    assert lines_of("cache 30#x\nlog#y z\n") == [(1, ("cache", "30")), (2, ("log", "z"))]


def test_one_block_needs_no_braces() -> None:
    assert corefile(".:53\nforward . 10.0.0.1\n").blocks[0].forward[0].servers == ("10.0.0.1:53",)


@given(st.text(alphabet=' \n{}"#.,:/\\abz0', max_size=80) | st.text(max_size=40))
def test_any_text_is_a_corefile_or_an_error(text: str) -> None:
    try:
        parse(text)
    except CorefileError as error:
        assert error.line >= 1


LINES = """. {
}
hosts {
10.0.0.1 a.b
ttl 3
fallthrough
rewrite name regex a{1} b{2}
rewrite stop {
name exact a b
answer auto
template IN ANY {
match (.*)
answer "{{ .Name }} A 1.2.3.4"
rcode NXDOMAIN
forward . 10.0.0.1 {
except x.y
cache 5 {
serve_stale 1h verify
kubernetes c.l 10.in-addr.arpa {
pods disabled
a.b {
"""
WORDS = st.sampled_from(LINES.splitlines())


@given(st.lists(WORDS, max_size=14))
def test_what_is_read_can_be_served(lines: list[str]) -> None:
    made = corefile("\n".join(lines))
    if not made.error:
        DnsSettings().changed(
            from_json(DnsConfig, to_json(DnsConfig((), blocks=made.blocks, cache=made.limits)))
        )
