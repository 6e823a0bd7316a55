"""What containers may do by their manifest, and what they are told that they don't get."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.kernel.containers.rights import CAPABILITIES, DEFAULT_CAPABILITIES
from emulab.kinds.core.podspec import PodSpec
from emulab.lab.kubelet.confinement import WITHHELD, Machine, NotConfigured, check, rights_of, shortfalls

ALL = (1 << 41) - 1
ROOT = Machine(one_user=False, filters=True, has_proc=True, permitted=ALL)
USER = Machine(one_user=True, filters=True, has_proc=True, permitted=ALL)


def spec(own: dict[str, Any], pod: dict[str, Any] | None = None, **more: Any) -> PodSpec:
    return PodSpec.of(
        {"securityContext": pod or {}, "containers": [{"name": "c", "securityContext": own}], **more}
    )


def rights(
    own: dict[str, Any], pod: dict[str, Any] | None = None, one_user: bool = False, user: str = ""
) -> Any:
    asked = spec(own, pod)
    return rights_of(asked.containers[0], asked, one_user, user)


def told(
    own: dict[str, Any], pod: dict[str, Any] | None = None, machine: Machine = ROOT, **more: Any
) -> list[str]:
    asked = spec(own, pod, **more)
    return list(shortfalls(asked.containers[0], asked, machine))


def test_who_says_nothing_has_what_a_runtime_gives() -> None:
    found = rights({})
    assert (found.user, found.gid, found.groups) == ("0", None, ())
    assert (
        found.capabilities == DEFAULT_CAPABILITIES
        and not found.no_new_privileges
        and found.seccomp == "default"
    )
    assert told({}) == []


@pytest.mark.parametrize(
    ("own", "pod", "user", "gid"),
    [
        ({"runAsUser": 7}, {"runAsUser": 8, "runAsGroup": 9}, "7", 9),
        ({"runAsUser": 0}, {"runAsUser": 8}, "0", None),
        ({"runAsGroup": 0}, {"runAsUser": 8, "runAsGroup": 9}, "8", 0),
    ],
)
def test_a_containers_own_word_outranks_its_pods(own: Any, pod: Any, user: str, gid: int | None) -> None:
    found = rights(own, pod)
    assert (found.user, found.gid) == (user, gid)


def test_an_images_user_is_followed_unless_the_manifest_names_one() -> None:
    assert rights({}, user="www-data:adm").user == "www-data:adm"
    assert rights({"runAsUser": 5}, user="www-data:adm").user == "5"


def test_groups_are_the_pods() -> None:
    found = rights({}, {"supplementalGroups": [1, 2], "fsGroup": 3, "supplementalGroupsPolicy": "Strict"})
    assert found.groups == (1, 2, 3) and not found.merges_groups


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [
        ({"drop": ["ALL"]}, set()),
        ({"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CAP_NET_ADMIN"]}, {"NET_BIND_SERVICE", "NET_ADMIN"}),
        ({"drop": ["net_raw", "CAP_CHOWN"]}, set(DEFAULT_CAPABILITIES) - {"NET_RAW", "CHOWN"}),
        ({"add": ["ALL"]}, set(CAPABILITIES) - WITHHELD),
        ({"add": ["ALL"], "drop": ["NET_ADMIN"]}, set(CAPABILITIES) - WITHHELD - {"NET_ADMIN"}),
        ({"add": ["SYS_ADMIN", "SYS_PTRACE"]}, set(DEFAULT_CAPABILITIES)),
    ],
)
def test_capabilities(capabilities: dict[str, Any], wanted: set[str]) -> None:
    assert set(rights({"capabilities": capabilities}).capabilities) == wanted


def test_privileged_is_all_but_the_machine() -> None:
    found = rights({"privileged": True, "capabilities": {"drop": ["ALL"]}})
    assert set(found.capabilities) == set(CAPABILITIES) - WITHHELD
    [what] = told({"privileged": True})
    assert what.startswith("privileged gives all capabilities but")


def test_a_lab_of_one_user_says_what_it_lacks() -> None:
    own = {"runAsUser": 7, "allowPrivilegeEscalation": False}
    found = rights(own, {"fsGroup": 3}, one_user=True)
    assert (found.user, found.gid, found.groups, found.no_new_privileges) == ("0", 0, None, True)
    assert len(told(own, {"fsGroup": 3}, USER, hostUsers=False)) == 3
    assert told({}, {}, USER) == [] and told({"runAsUser": 0}, {}, USER) == []


@pytest.mark.parametrize(
    ("own", "machine", "words"),
    [
        ({"capabilities": {"add": ["SYS_ADMIN"]}}, ROOT, "CAP_SYS_ADMIN would reach beyond the lab"),
        ({"capabilities": {"add": ["NET_ADMINN"]}}, ROOT, "CAP_NET_ADMINN is no capability"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, ROOT._replace(permitted=0), "emulab doesn't have CAP_NET_ADMIN"),
        ({"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}, ROOT, "no seccomp profile a.json"),
        ({}, ROOT._replace(filters=False), "install libseccomp2"),
        ({"seccompProfile": {"type": "Unconfined"}}, ROOT._replace(filters=False), "install libseccomp2"),
        ({"seccompProfile": {"type": "Unconfined"}}, ROOT, "but those that reach beyond the lab: user namespaces"),
        ({}, ROOT._replace(has_proc=False), "its /proc is empty"),
    ],
)  # fmt: skip
def test_what_is_not_given_is_told(own: dict[str, Any], machine: Machine, words: str) -> None:
    [what] = told(own, machine=machine)
    assert words in what


@pytest.mark.parametrize(
    ("own", "user", "words"),
    [
        ({"runAsNonRoot": True}, "", "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True}, "000:5", "container has runAsNonRoot and image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "5", "container's runAsUser breaks non-root policy"),
        ({"runAsNonRoot": True}, "web:5", "image has non-numeric user (web), cannot verify user is non-root"),
    ],
)
def test_who_must_not_be_root(own: dict[str, Any], user: str, words: str) -> None:
    asked = spec(own)
    with pytest.raises(NotConfigured) as why:
        check(asked.containers[0], "p_default(u)", user)
    assert words in str(why.value) and '(pod: "p_default(u)", container: c)' in str(why.value)


@pytest.mark.parametrize(
    ("own", "user"), [({"runAsNonRoot": True, "runAsUser": 5}, ""), ({"runAsNonRoot": True}, "5:6"), ({}, "")]
)
def test_who_may_start(own: dict[str, Any], user: str) -> None:
    asked = spec(own)
    check(asked.containers[0], "p_default(u)", user)


def test_a_user_of_too_many_digits_is_refused_where_users_are_looked_up() -> None:
    check(spec({"runAsNonRoot": True}).containers[0], "p_default(u)", "7" * 5000)
