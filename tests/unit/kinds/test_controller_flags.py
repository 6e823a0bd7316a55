"""The flags of ingress-nginx' controller, as pflag reads them, and what is said of those that aren't followed."""

from __future__ import annotations

import pytest

from emulab.kinds.networking.controllerflags import (
    FLAGS,
    ControllerFlags,
    controller_flags,
    is_controllers,
    oddities,
)


def flags(*words: str, **known: str) -> ControllerFlags:
    return controller_flags(["/nginx-ingress-controller", *words], known)


def odd(*words: str) -> list[str]:
    return [what for _, what in oddities(words)]


def test_no_flag_is_the_controllers_default() -> None:
    assert flags() == ControllerFlags()
    assert (ControllerFlags().http_port, ControllerFlags().healthz_port) == (80, 10254)
    assert (
        not ControllerFlags().without_class and ControllerFlags().controller_class == "k8s.io/ingress-nginx"
    )


def test_the_ways_to_write_a_flag() -> None:
    for words in (
        ["--http-port=8080"],
        ["--http-port", "8080"],
        ["-http-port=8080"],
        ["--", "--http-port=1"],
    ):
        assert flags(*words).http_port == (80 if words[0] == "--" else 8080)
    assert flags("--watch-ingress-without-class").without_class
    assert flags("--watch-ingress-without-class=true").without_class
    assert not flags("--watch-ingress-without-class=false").without_class
    after = flags("--watch-ingress-without-class", "--ingress-class", "edge")
    assert after.without_class and after.ingress_class == "edge", "a switch takes no word behind it"
    assert not flags("--disable-catch-all").catch_all and not flags("--update-status=false").update_status
    assert (
        controller_flags(
            ["/usr/bin/dumb-init", "--", "/nginx-ingress-controller", "--http-port=1"], {}
        ).http_port
        == 1
    )


def test_variables_are_those_of_the_container() -> None:
    given = flags("--configmap=$(POD_NAMESPACE)/conf", "--publish-service=$(OTHER)/c", POD_NAMESPACE="edge")
    assert (given.config_map, given.publish_service) == ("edge/conf", "$(OTHER)/c")


def test_the_webhook_is_a_port() -> None:
    assert flags("--validating-webhook=:8443").webhook_port == 8443
    assert flags().webhook_port == 0


def test_what_is_not_followed_is_said_once_with_its_word() -> None:
    assert odd("--election-id=x", "--v=5", "-v=2", "--report-node-internal-ip-address") == []
    assert odd("--maxmind-license-key=x") == ["--maxmind-license-key is not followed: there is no GeoIP"]
    assert odd("--shutdown-grace-period=30") == [
        "--shutdown-grace-period is not followed: a controller that ends takes no new connections from then on"
    ]
    assert odd("--enable-ssl-passthrough=false") == [], "it asks for what is"
    assert odd("--enable-ssl-passthrough") == [
        "--enable-ssl-passthrough is not followed: TLS ends at the ingress"
    ]
    assert list(oddities(["/nginx-ingress-controller", "--bogus=1"])) == [
        (1, "--bogus is no flag of the controller, which would end with it")
    ]
    assert odd("--http-port=many") == ["--http-port=many can't be read; the controller would end with it"]
    assert odd("--http-port") == ["--http-port needs a value; the controller would end without it"]
    both = odd("--publish-service=a/b", "--publish-status-address=1.2.3.4")
    assert len(both) == 1 and "mutually exclusive" in both[0]
    assert flags("--http-port=many").http_port == 80


def test_every_field_is_set_by_one_flag() -> None:
    fields = [flag.field for flag in FLAGS.values() if flag.field]
    assert sorted(fields) == sorted(ControllerFlags.__dataclass_fields__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), True),
        (("--v=2",), True),
        (("/nginx-ingress-controller", "--v=2"), True),
        (("/usr/bin/dumb-init", "--", "/nginx-ingress-controller"), True),
        (("sleep", "infinity"), False),
    ],
)
def test_a_container_with_another_program_is_no_controller(words: tuple[str, ...], expected: bool) -> None:
    assert is_controllers(words) is expected


@pytest.mark.parametrize(
    "word",
    [
        *(
            "--sync-period=1",
            "--election-ttl=30",
            "--status-port=x",
            "--v=",
            "--bucket-factor=a",
            "--http-port=08",
        ),
        *("--profiler-address=x", "--shutdown-grace-period=1s", "--watch-namespace-selector=a in b"),
        *("--enable-annotation-validation=no", "--healthz-port=0", "--sync-rate-limit="),
    ],
)
def test_what_cannot_be_read_ends_the_controller(word: str) -> None:
    assert odd(word) == [f"{word} can't be read; the controller would end with it"]


def test_what_is_read_as_go_reads_it() -> None:
    assert (
        odd("--sync-period=1m30.5s", "--election-ttl=0", "--bucket-factor=1.1", "--profiler-address=::1")
        == []
    )
    assert (flags("--http-port=0x50").http_port, flags("--http-port=0120").http_port) == (80, 80)


def test_flags_that_contradict_each_other() -> None:
    assert odd("--watch-namespace=a", "--watch-namespace-selector=b=c") == [
        "--watch-namespace and --watch-namespace-selector are mutually exclusive; the controller would end with both"
    ]
    assert odd("--watch-namespace=", "--watch-namespace-selector=b=c") == []
    assert odd("--metrics-per-undefined-host", "--metrics-per-host=false") == [
        "--metrics-per-undefined-host needs --metrics-per-host=true; the controller would end without it"
    ]
    assert odd("--metrics-per-undefined-host=false", "--metrics-per-host=false") == []


def test_what_asks_for_what_is_done_anyway_is_nothing_to_tell() -> None:
    assert odd("--maxmind-license-key=", "--healthz-host=", "--shutdown-grace-period=0") == []
    assert odd("--enable-annotation-validation", "--version=false") == []
    assert odd("--enable-annotation-validation=false") == [
        "--enable-annotation-validation=false is not followed: annotations are read as those are that are validated"
    ]


def test_lists_that_are_there_twice_are_one() -> None:
    assert flags("--exclude-socket-metrics=a,b", "--exclude-socket-metrics=c").excluded_metrics == (
        "a",
        "b",
        "c",
    )
    assert flags("--time-buckets=1,2", "--time-buckets=3").time_buckets == (1.0, 2.0, 3.0)
