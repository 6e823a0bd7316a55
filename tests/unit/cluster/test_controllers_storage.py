"""Claims, the volumes that they are bound to, and what of that a Pod's node depends on."""

from __future__ import annotations

from typing import Any

import pytest
from lab_objects import obj, place

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.admission.merge import admit
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import KINDS, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from emulab.model.objects import Object

NOW = 1_700_000_000.0


def lab(*objects: Object) -> Store:
    store = Store()
    for o in (*system_objects(cluster_of(store.objects())), *objects):
        place(store, o)
    resolve(store, NOW)
    return store


def add(store: Store, *objects: Object) -> None:
    for o in objects:
        admit(store, o)
    resolve(store, NOW)


def claim(name: str = "data", size: str = "1Gi", mode: str = "ReadWriteOnce", **spec: Any) -> Object:
    asked = {"accessModes": [mode], "resources": {"requests": {"storage": size}}, **spec}
    return obj("PersistentVolumeClaim", name, spec=asked)


def volume(name: str, size: str = "1Gi", **spec: Any) -> Object:
    whole = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/a"},
        **spec,
    }
    return obj("PersistentVolume", name, "", spec={"storageClassName": "manual", **whole})


def pod(name: str, *claims: str, **spec: Any) -> Object:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    return obj("Pod", name, spec={"containers": [{"name": "c", "image": "i"}], "volumes": volumes, **spec})


def the(store: Store, kind: str, name: str) -> Object:
    namespaced = KINDS.named(kind)
    assert namespaced is not None
    found = store.get(namespaced.key("default" if namespaced.namespaced else "", name))
    assert found is not None
    return found


def bound_to(store: Store, name: str = "data") -> str:
    return str(the(store, "pvc", name).spec.get("volumeName") or "")


def why(store: Store, name: str) -> str:
    conditions = the(store, "pod", name).status.get("conditions") or ()
    return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")


def test_a_claim_waits_for_its_first_consumers_node() -> None:
    store = lab(claim())
    waiting = the(store, "pvc", "data")
    assert (waiting.status["phase"], waiting.spec["storageClassName"]) == ("Pending", "standard")
    add(store, pod("a", "data"))
    got, node = the(store, "pvc", "data"), the(store, "pod", "a").spec["nodeName"]
    made = the(store, "pv", bound_to(store))
    assert got.status == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    assert made.name == f"pvc-{got.metadata['uid']}" and made.status["phase"] == "Bound"
    (term,) = made.spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [node]
    add(store, pod("b", "data"))
    assert the(store, "pod", "b").spec["nodeName"] == node, "where the volume is"
    version = store.version
    resolve(store, NOW)
    assert store.version == version


def test_a_volume_for_several_nodes_is_on_all_of_them() -> None:
    store = lab(claim(mode="ReadWriteMany"), *(pod(name, "data") for name in "ab"))
    assert "nodeAffinity" not in the(store, "pv", bound_to(store)).spec
    assert {the(store, "pod", name).spec["nodeName"] for name in "ab"} == {"node1", "node2"}


@pytest.mark.parametrize(
    ("volumes", "asked", "found"),
    [
        ([volume("large", "10Gi"), volume("fits", "2Gi"), volume("small", "1Mi")], {}, "fits"),
        ([volume("other", storageClassName="x")], {}, ""),
        ([volume("modes", accessModes=["ReadOnlyMany"])], {}, ""),
        ([volume("mode", volumeMode="Block")], {}, ""),
        ([volume("named")], {"volumeName": "named"}, "named"),
        (
            [volume("a"), volume("reserved", claimRef={"namespace": "default", "name": "data"})],
            {},
            "reserved",
        ),
        ([volume("taken", claimRef={"namespace": "default", "name": "other"})], {}, ""),
        ([volume("unlabelled")], {"selector": {"matchLabels": {"a": "b"}}}, ""),
    ],
)
def test_a_volume_that_is_there(volumes: list[Object], asked: dict[str, Any], found: str) -> None:
    store = lab(*volumes, claim(storageClassName="manual", **asked))
    assert bound_to(store) == found or (asked and bound_to(store) == asked.get("volumeName"))
    assert the(store, "pvc", "data").status["phase"] == ("Bound" if found else "Pending")


def test_a_class_that_waits_for_nobody_and_one_that_makes_nothing() -> None:
    at_once = obj("StorageClass", "fast", "", provisioner="ebs.csi.aws.com", reclaimPolicy="Retain")
    never = obj("StorageClass", "local", "", provisioner="kubernetes.io/no-provisioner")
    store = lab(
        *(at_once, never, claim("a", storageClassName="fast")),
        *(
            claim("b", storageClassName="local"),
            claim("c", storageClassName="none"),
            claim("d", storageClassName=""),
        ),
    )
    made = the(store, "pv", bound_to(store, "a"))
    assert made.spec["persistentVolumeReclaimPolicy"] == "Retain" and "nodeAffinity" not in made.spec
    assert [bound_to(store, name) for name in "bcd"] == ["", "", ""]
    told = {(t.about.name, t.reason, t.message) for t in store.take_told()}
    assert ("c", "ProvisioningFailed", 'storageclass.storage.k8s.io "none" not found') in told
    assert (
        *("d", "FailedBinding"),
        "no persistent volumes available for this claim and no storage class is set",
    ) in told


def test_classes_that_clusters_of_a_maker_have_are_made_where_a_claim_names_them() -> None:
    own = obj("StorageClass", "gp2", "", provisioner="mine")
    beta = claim("b")
    beta = beta.replace(
        metadata={**beta.metadata, "annotations": {"volume.beta.kubernetes.io/storage-class": "azurefile"}}
    )
    store = lab(
        own,
        claim("a", storageClassName="gp2"),
        beta,
        claim("c", storageClassName="premium-rwo"),
        pod("p", "c"),
    )
    assert all(bound_to(store, name) for name in "abc")
    assert the(store, "sc", "gp2").raw["provisioner"] == "mine"
    assert the(store, "sc", "azurefile").raw["provisioner"] == "file.csi.azure.com"
    assert the(store, "sc", "premium-rwo").raw["volumeBindingMode"] == "WaitForFirstConsumer"
    assert the(store, "pvc", "b").spec["storageClassName"] == "azurefile"
    names = [o.name for o in store.objects().kind(STORAGE_CLASS)]
    assert sorted(names) == ["azurefile", "gp2", "premium-rwo", "standard"]


def test_classes_that_there_are_not_are_warned_of() -> None:
    claims = [
        claim(str(i), storageClassName=name)
        for i, name in enumerate(("gp2", "manual", "none", "standard", ""))
    ]
    given = [
        *claims,
        claim("x"),
        stateful(1, volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": claims[2].spec}]),
    ]
    waits = (
        "there is no StorageClass none and no PersistentVolume of it, so the claim waits; without storageClassName it"
        " is of the lab's own, standard"
    )
    assert [line.partition(": ")[2] for line in warnings([*given, volume("v")])] == [
        "PersistentVolumeClaim/0 spec.storageClassName: gp2 is a StorageClass of EKS: the lab makes one, of folders",
        f"PersistentVolumeClaim/2 spec.storageClassName: {waits}",
        f"StatefulSet/db spec.volumeClaimTemplates[0].spec.storageClassName: {waits}",
    ]


def test_of_two_default_classes_a_users_counts() -> None:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    own = obj("StorageClass", "own", "", provisioner="x", metadata={"annotations": default})
    assert the(lab(own, claim()), "pvc", "data").spec["storageClassName"] == "own"


def test_what_is_in_use_stays_until_it_isnt() -> None:
    store = lab(claim(), pod("a", "data"))
    name = bound_to(store)
    store.delete(PERSISTENT_VOLUME_CLAIM.key("default", "data"))
    store.delete(PERSISTENT_VOLUME.key("", name))
    resolve(store, NOW)
    assert the(store, "pvc", "data").metadata["deletionTimestamp"]
    assert the(store, "pv", name).metadata["deletionTimestamp"]
    add(store, pod("late", "data"))
    assert why(store, "late") == '0/2 nodes are available: persistentvolumeclaim "data" is being deleted.'
    for pod_name in ("a", "late"):
        store.remove(POD.key("default", pod_name))
    resolve(store, NOW)
    assert store.get(PERSISTENT_VOLUME_CLAIM.key("default", "data")) is None
    assert store.get(PERSISTENT_VOLUME.key("", name)) is None


@pytest.mark.parametrize(("policy", "left"), [("Delete", None), ("Retain", "Released"), ("", "Released")])
def test_what_becomes_of_a_volume_without_its_claim(policy: str, left: str | None) -> None:
    more = {"persistentVolumeReclaimPolicy": policy} if policy else {}
    store = lab(volume("v", **more), claim(storageClassName="manual"))
    assert bound_to(store) == "v"
    store.delete(PERSISTENT_VOLUME_CLAIM.key("default", "data"))
    resolve(store, NOW)
    now = store.get(PERSISTENT_VOLUME.key("", "v"))
    assert (now and now.status["phase"]) == left
    add(store, claim("next", storageClassName="manual"))
    assert bound_to(store, "next") == "", "nobody gets what another has left behind"


def test_a_claim_that_is_applied_again_stays_as_it_is() -> None:
    store = lab(claim(), pod("a", "data"))
    assert admit(store, claim()) == "unchanged"
    with pytest.raises(UserError, match="spec is immutable after creation except"):
        admit(store, claim(mode="ReadWriteMany"))
    add(store, claim(size="5Gi"))
    assert the(store, "pvc", "data").status["capacity"] == {"storage": "5Gi"}
    assert the(store, "pv", bound_to(store)).spec["capacity"] == {"storage": "5Gi"}
    store.delete(PERSISTENT_VOLUME.key("", bound_to(store)))
    assert store.get(PERSISTENT_VOLUME.key("", bound_to(store))) is not None


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([claim(storageClassName="none")], "pod has unbound immediate PersistentVolumeClaims"),
        (
            [
                obj(
                    *("StorageClass", "manual", ""),
                    provisioner="kubernetes.io/no-provisioner",
                    volumeBindingMode="WaitForFirstConsumer",
                ),
                claim(storageClassName="manual"),
            ],
            "2 node(s) didn't find available persistent volumes to bind",
        ),
    ],
)
def test_why_a_pod_has_no_node(objects: list[Object], message: str) -> None:
    assert why(lab(*objects, pod("a", "data")), "a") == f"0/2 nodes are available: {message}."


def test_a_volume_on_another_node() -> None:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node2"]}
    near = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    store = lab(volume("v", nodeAffinity=near), claim(storageClassName="manual"), pod("a", "data"))
    assert the(store, "pod", "a").spec["nodeName"] == "node2"
    add(store, pod("b", "data", nodeSelector={"kubernetes.io/hostname": "node1"}))
    assert why(store, "b") == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector,"
        " 1 node(s) had volume node affinity conflict."
    )


def test_one_pod_alone() -> None:
    store = lab(claim(mode="ReadWriteOncePod"), pod("a", "data"))
    add(store, pod("b", "data"))
    assert "ReadWriteOncePod access mode" in why(store, "b")


def test_a_pods_own_claim() -> None:
    template = {"metadata": {"labels": {"l": "x"}}, "spec": claim().spec}
    volumes = [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]
    store = lab(pod("a", volumes=volumes))
    own = the(store, "pvc", "a-v")
    assert own.labels == {"l": "x"} and own.status["phase"] == "Bound"
    store.remove(POD.key("default", "a"))
    resolve(store, NOW)
    assert store.get(own.key) is None and not store.objects().kind(PERSISTENT_VOLUME)


def stateful(replicas: int, **spec: Any) -> Object:
    template = {"metadata": {"name": "d", "labels": {"t": "1"}}, "spec": claim().spec}
    return obj(
        "StatefulSet",
        "db",
        spec={
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "volumes": [{"name": "d", "emptyDir": {}}, {"name": "e", "emptyDir": {}}],
                },
            },
            "volumeClaimTemplates": [template],
            **spec,
        },
    )


def claims(store: Store) -> list[str]:
    return sorted(o.name for o in store.objects().kind(PERSISTENT_VOLUME_CLAIM))


def test_a_stateful_sets_claims() -> None:
    store = lab(stateful(2))
    assert claims(store) == ["d-db-0", "d-db-1"]
    assert the(store, "pvc", "d-db-0").labels == {"t": "1", "app": "db"}
    assert the(store, "pod", "db-1").spec["volumes"] == [
        {"name": "d", "persistentVolumeClaim": {"claimName": "d-db-1"}},
        {"name": "e", "emptyDir": {}},
    ]
    add(store, stateful(0))
    store.delete(stateful(0).key)
    resolve(store, NOW)
    assert claims(store) == ["d-db-0", "d-db-1"], "they stay"


@pytest.mark.parametrize(("deleted", "scaled"), [("Delete", "Retain"), ("Retain", "Delete")])
def test_when_claims_go(deleted: str, scaled: str) -> None:
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    store = lab(stateful(2, persistentVolumeClaimRetentionPolicy=policy))
    add(store, stateful(1, persistentVolumeClaimRetentionPolicy=policy))
    for name in [o.name for o in store.objects().kind(POD, "default") if o.metadata.get("deletionTimestamp")]:
        store.remove(POD.key("default", name))
    resolve(store, NOW)
    assert claims(store) == (["d-db-0"] if scaled == "Delete" else ["d-db-0", "d-db-1"])
    store.delete(stateful(1).key)
    resolve(store, NOW)
    for o in store.objects().kind(POD, "default"):
        store.remove(o.key)
    resolve(store, NOW)
    assert claims(store) == ([] if deleted == "Delete" else ["d-db-0"])
