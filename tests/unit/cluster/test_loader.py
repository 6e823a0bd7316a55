"""From files to objects: order, defaults, positions, and errors as users see them, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifest_texts import SERVICE, WORKLOAD, accepted, described, manifest, problems, stream

from emulab.cluster.admission.loader import Manifest, load
from emulab.errors import ManifestError, UserError
from emulab.kinds import registry
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import networks
from emulab.model.objects import Position
from emulab.model.sources import Source, read_sources
from emulab.model.validation import IGNORE, WARN

SHOP = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: Service
metadata:
  name: product-service
  namespace: shop
spec:
  selector: {app: product}
  ports:
    - port: 80
      targetPort: 8080
"""


def test_objects_come_in_order_with_positions() -> None:
    objects = manifest(SHOP).objects
    assert [str(o.key) for o in objects] == ["Namespace/shop", "Service/shop/product-service"]
    assert [o.position for o in objects] == [Position("shop.yaml", 1), Position("shop.yaml", 6)]


def test_the_example_of_an_error() -> None:
    assert problems(SHOP.replace("port: 80\n", "port: 99999\n")) == [
        "shop.yaml:14: Service/product-service spec.ports[0].port: 99999 is not a port (1-65535)"
    ]


def test_every_problem_is_listed_in_order_and_nothing_is_returned() -> None:
    text = SHOP.replace("port: 80\n", 'port: "80"\n').replace("name: shop\n", "name: Shop\n")
    text += "      protocol: ICMP\n---\nkind: Pod\n---\n- 1\n"
    assert problems(text) == [
        "shop.yaml:4: Namespace/Shop metadata.name: "
        "\"Shop\" is not a DNS label (a-z, 0-9 and inside '-', at most 63)",
        'shop.yaml:14: Service/product-service spec.ports[0].port: "80" is not a port (1-65535); '
        "write it without quotes",
        'shop.yaml:16: Service/product-service spec.ports[0].protocol: "ICMP" is not one of TCP, UDP, SCTP',
        "shop.yaml:18: Pod apiVersion: is required",
        "shop.yaml:20: a list is not an object: a mapping with apiVersion, kind and metadata",
    ]


def test_a_missing_field_is_told_at_its_parent() -> None:
    text = SHOP.replace("    - port: 80\n      targetPort", "    - targetPort")
    assert problems(text) == ["shop.yaml:14: Service/product-service spec.ports[0].port: is required"]


def test_unknown_kinds() -> None:
    assert problems("apiVersion: apps/v1\nkind: Deploymnt\nmetadata: {name: web}\n") == [
        'shop.yaml:2: Deploymnt/web kind: "Deploymnt" is not a kind that emulab knows; '
        "did you mean Deployment?"
    ]
    (problem,) = problems("apiVersion: v1\nkind: service\nmetadata: {name: web}\n")
    assert "did you mean Service?" in problem
    (problem,) = problems("apiVersion: batch/v1\nkind: Xyzzy\nmetadata: {name: web}\n")
    assert "did you mean" not in problem


def test_wrong_versions_and_kinds_that_users_may_not_give() -> None:
    assert problems("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: web}\n") == [
        'shop.yaml:1: Ingress/web apiVersion: no matches for kind "Ingress" in version "extensions/v1beta1"; '
        "write networking.k8s.io/v1"
    ]
    assert problems("apiVersion: 1\nkind: [a]\n") == [
        "shop.yaml:1: apiVersion: 1 is not a string; put it in quotes",
        "shop.yaml:2: kind: a list is not a string",
    ]


@pytest.mark.parametrize(
    ("spelt", "read"), [("n", "false"), ("Yes", "true"), ("1.0", "1"), ("0x1F", "31"), ("1_0", "10")]
)
def test_values_that_yaml_reads_otherwise_are_quoted_as_they_stand_there(spelt: str, read: str) -> None:
    text = (
        SHOP
        + "---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: %s}}\n"
    )
    (problem,) = problems(text % spelt)
    assert problem.endswith(f"metadata.name: {spelt} (read as {read}) is not a string; put it in quotes")
    (problem,) = problems(text % "5")
    assert problem.endswith("metadata.name: 5 is not a string; put it in quotes")


@pytest.mark.parametrize("text", ["kind: Kustomization", "kind: Component\nmetadata: {name: a}"])
def test_a_kustomization_among_objects_is_none(text: str) -> None:
    told = f"apiVersion: kustomize.config.k8s.io/v1beta1\n{text}\nresources: [a.yaml]\n"
    (problem,) = problems(told)
    assert "this is a kustomization; pipe in what it makes: kubectl kustomize" in problem


def test_a_node_of_a_dump_is_left_out_and_that_is_told() -> None:
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, uid: x}\nspec: {podCIDR: 10.0.0.0/24}\n---\n"
    found = manifest(node + SHOP)
    assert [o.kind for o in found.objects] == ["Namespace", "Service"]
    assert found.without_effect == (
        "shop.yaml:1: Node/n1: is left out: spec.nodes of the Cluster says which nodes there are",
    )


def test_the_namespace_that_is_asked_for() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    (o,) = load([Source("f.yaml", text)], namespace="shop").objects
    assert o.namespace == "shop"
    (o,) = load([Source("f.yaml", text.replace("a}", "a, namespace: shop}"))], namespace="shop").objects
    assert o.namespace == "shop"
    (o,) = load(
        [Source("f.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")], namespace="x"
    ).objects
    assert o.namespace == ""


def test_namespace_is_filled_in_where_the_kind_has_one() -> None:
    service, cluster = accepted(described("Service", SERVICE), described("Cluster", {"nodes": 1}))
    assert (service.namespace, cluster.namespace) == ("default", "")
    assert "namespace" not in cluster.metadata


def test_metadata_shared_by_an_alias_is_not_changed_for_the_other() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n"
    text += "- {apiVersion: v1, kind: ConfigMap, metadata: &m {name: both}}\n"
    text += "- {apiVersion: v1, kind: Namespace, metadata: *m}\n"
    assert [str(o.key) for o in manifest(text).objects] == ["ConfigMap/default/both", "Namespace/both"]


def test_known_fields_are_kept_whether_or_not_they_are_followed() -> None:
    spec = {**WORKLOAD, "progressDeadlineSeconds": 5, "revisionHistoryLimit": 3}
    (o,) = accepted(described("Deployment", spec))
    assert o.spec["progressDeadlineSeconds"] == 5 and o.spec["revisionHistoryLimit"] == 3


MISSPELT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replica: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        containerports: [{containerPort: 80}]
        readinesProbe: {tcpSocket: {port: 80}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  sessionAfinity: ClientIP
  selector: {app: web}
  ports:
  - port: 80
    targetport: 8080
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassname: nginx
  defaultBackend: {service: {name: web, port: {number: 80}}}
"""
"""kubernetes/kubernetes#7598, and its like."""

UNKNOWN = [
    'shop.yaml:5: Deployment/web: unknown field "spec.replica"; did you mean replicas?',
    'shop.yaml:12: Deployment/web: unknown field "spec.template.spec.containers[0].containerports"; '
    "did you mean ports?",
    'shop.yaml:13: Deployment/web: unknown field "spec.template.spec.containers[0].readinesProbe"; '
    "did you mean readinessProbe?",
    'shop.yaml:19: Service/web: unknown field "spec.sessionAfinity"; did you mean sessionAffinity?',
    'shop.yaml:23: Service/web: unknown field "spec.ports[0].targetport"; did you mean targetPort?',
    'shop.yaml:29: Ingress/web: unknown field "spec.ingressClassname"; did you mean ingressClassName?',
]


def test_unknown_fields_are_refused_all_at_once() -> None:
    assert problems(MISSPELT) == UNKNOWN


def test_unknown_fields_are_left_out_with_a_warning_or_without() -> None:
    for validation, told in ((WARN, tuple(UNKNOWN)), (IGNORE, ())):
        loaded = load([Source("shop.yaml", MISSPELT)], validation=validation)
        assert loaded.without_effect == told
        deployment, service, ingress = loaded.objects
        assert deployment.spec.keys() == {"selector", "template"}
        assert deployment.spec["template"]["spec"] == {"containers": [{"name": "web"}]}
        assert service.spec == {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        assert ingress.spec.keys() == {"defaultBackend"}


def test_what_else_is_wrong_is_told_however_it_is_validated() -> None:
    text = MISSPELT.replace("port: 80\n", "port: 0\n")
    for validation in (WARN, IGNORE):
        with pytest.raises(ManifestError) as raised:
            load([Source("shop.yaml", text)], validation=validation)
        assert raised.value.problems == [
            "shop.yaml:22: Service/web spec.ports[0].port: 0 is not a port (1-65535)"
        ]


def test_what_an_alias_shares_is_left_out_where_it_is_unknown_alone() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n"
    text += "- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: &d {key: x}}\n"
    text += (
        "- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {externalName: b, type: ExternalName,"
    )
    text += " sessionAffinityConfig: *d, sessionAffinity: ClientIP}}\n"
    one, other = load([Source("shop.yaml", text)], validation=IGNORE).objects
    assert one.raw["data"] == {"key": "x"} and other.spec["sessionAffinityConfig"] == {}


def test_keys_that_are_given_twice() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: one\n  l: x\n  k: two\n  l:\n"
    assert problems(text) == ['shop.yaml:7: the key "k" was already given on line 5; kubectl takes the last']
    loaded = load([Source("shop.yaml", text)], validation=WARN)
    assert loaded.without_effect == (
        'shop.yaml:7: the key "k" was already given on line 5; the last counts',
        'shop.yaml:8: the key "l" was already given on line 6; the last counts',
    )
    assert loaded.objects[0].raw["data"] == {"k": "two"}
    assert load([Source("shop.yaml", text)], validation=IGNORE).without_effect == ()


def test_what_only_a_server_says_is_left_out() -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: saved
  labels: {a: b}
  uid: not-a-uuid
  resourceVersion: "12"
  creationTimestamp: 2024-01-01T00:00:00Z
  deletionTimestamp: 2024-01-01T00:00:00Z
  ownerReferences: [{controller: true}]
  managedFields: [{manager: kubectl}]
status: {address: anything}
"""
    (o,) = manifest(text).objects
    assert o.metadata == {"name": "saved", "labels": {"a": "b"}, "namespace": "default"}
    assert o.status == {}


def test_lists_are_expanded_in_place() -> None:
    text = """\
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: a}
- apiVersion: v1
  kind: List
  items:
  - apiVersion: v1
    kind: Namespace
    metadata: {name: b}
- apiVersion: v1
  kind: Namespace
  metadata: {name: c}
"""
    found = [(o.name, o.position.line) for o in manifest(text).objects]
    assert found == [("a", 5), ("b", 11), ("c", 14)]
    bad = text.replace("{name: b}", "{name: b, labels: {x: 1}}")
    assert problems(bad) == [
        "shop.yaml:13: Namespace/b metadata.labels.x: 1 is not a string; put it in quotes"
    ]
    assert problems("apiVersion: v1\nkind: List\nitems: {}\n") == [
        "shop.yaml:3: List items: a mapping is not a list"
    ]


def test_fields_of_a_list_are_checked_too() -> None:
    listed = "apiVersion: v1\nkind: List\nitens: []\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
    told = 'shop.yaml:3: List: unknown field "itens"; did you mean items?'
    assert problems(listed) == problems(listed.partition("items:")[0]) == [told]
    found = load([Source("shop.yaml", listed)], validation=WARN)
    assert (len(found.objects), found.without_effect) == (1, (told,))
    assert load([Source("shop.yaml", listed)], validation=IGNORE).without_effect == ()


@pytest.mark.parametrize("text", ["a: {{ .Values.a }}\n", "a: b\n{{- if .Values.x }}\nb: c\n{{ end }}"])
def test_a_template_is_told_to_be_one(text: str) -> None:
    (problem,) = problems(text)
    assert problem.endswith("; {{ … }} is of a template: give what `helm template` makes of it")


def test_a_tab_is_called_one() -> None:
    assert problems("apiVersion: v1\nmetadata:\n\tname: a\n") == [
        "shop.yaml:3: not YAML: a tab indents this line, where YAML takes spaces alone"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n\t"kind": "Pod",\n\t"metadata" {}\n}\n', 3),  # JSON, where tabs may be
        ("kind: Pod\nspec: {\n\ta: @b}\n", 3),
        ("a: 1\rb: 2\rc: [\r", 3),  # lines as YAML counts them
        ("a: [", 1),
    ],
)
def test_what_is_wrong_beside_a_tab_is_called_what_it_is(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"shop.yaml:{line}: not YAML: ") and "a tab" not in problem


def test_json_is_yaml() -> None:
    (o,) = manifest(
        '{\n\t"apiVersion": "v1", "kind": "Namespace",\n\t"metadata": {"name": "a\\u002db"}\n}'
    ).objects
    assert o.name == "a-b"


def test_duplicates_name_both_places() -> None:
    a = Source("a.yaml", stream(described("Service", SERVICE)))
    b = Source(
        "b.yaml",
        "# second\n"
        + stream(
            described("Service", {"ports": [{"port": 81}]}, metadata={"name": "web", "namespace": "default"})
        ),
    )
    with pytest.raises(ManifestError) as raised:
        load([a, b])
    assert raised.value.problems == ["b.yaml:2: Service/web: is already given at a.yaml:1"]


def test_what_is_given_twice_and_says_the_same_is_no_contradiction() -> None:
    metadata = {"name": "web", "namespace": "default"}
    twice = [described("Service", SERVICE), described("Service", SERVICE, metadata=metadata)]
    first, second = accepted(*twice)
    assert first.key == second.key
    assert first.raw == second.raw


def test_a_kind_in_no_namespace_loses_the_one_that_it_is_given() -> None:
    metadata = {"name": "a", "namespace": "b"}
    loaded = manifest(
        stream(described("Namespace", metadata=metadata), described("ClusterRole", metadata=metadata))
    )
    assert [(str(o.key), "namespace" in o.metadata) for o in loaded.objects] == [
        ("Namespace/a", False),
        ("ClusterRole/a", False),
    ]
    assert loaded.without_effect == (
        "shop.yaml:1: Namespace/a metadata.namespace: is left out: a Namespace is in no namespace",
        "shop.yaml:3: ClusterRole/a metadata.namespace: is left out: a ClusterRole is in no namespace",
    )


GENERATED = """\
apiVersion: v1
kind: ConfigMap
metadata: {generateName: sync-}
"""


def test_a_name_is_made_up_where_there_is_none() -> None:
    text = f"{GENERATED}---\n{GENERATED}"
    names = [o.name for o in manifest(text).objects]
    assert len({*names}) == 2
    assert all(re.fullmatch("sync-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)
    assert [o.name for o in manifest(text).objects] == names  # what is given again is there already
    (named,) = manifest(GENERATED.replace("{", "{name: sync, ")).objects
    assert named.name == "sync"


def test_apply_makes_no_names_up() -> None:
    with pytest.raises(ManifestError) as raised:
        load([Source("f.yaml", GENERATED)], names=False)
    assert raised.value.problems == [
        "f.yaml:1: ConfigMap: from sync-: cannot use generate name with apply; `up` makes a name"
    ]


def test_the_same_name_in_another_namespace_or_kind_is_another_object() -> None:
    other = described("Service", SERVICE, metadata={"name": "web", "namespace": "other"})
    keys = {o.key for o in accepted(described("Service", SERVICE), other, described("ConfigMap"))}
    assert keys == {
        registry.SERVICE.key("default", "web"),
        registry.SERVICE.key("other", "web"),
        registry.CONFIG_MAP.key("default", "web"),
    }


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "---\n---\n", "apiVersion: v1\nkind: List\nitems: []\n"]
)
def test_a_source_without_objects(text: str) -> None:
    assert problems(text) == ["shop.yaml:1: there is no object in it"]


def test_an_empty_document_is_fine_and_so_are_no_sources() -> None:
    assert len(manifest(f"---\n---\n{SHOP}---\n").objects) == 2
    assert load([]) == Manifest(())


def test_problems_of_all_sources_are_told_in_their_order() -> None:
    with pytest.raises(ManifestError) as raised:
        load([Source("z.yaml", "a: ["), Source("a.yaml", "kind: 1")])
    assert raised.value.problems == [
        "z.yaml:1: not YAML: did not find expected node content (while parsing a flow node)",
        "a.yaml:1: apiVersion: is required",
        "a.yaml:1: kind: 1 is not a string; put it in quotes",
    ]


def test_problems_before_a_syntax_error_are_told_too() -> None:
    found = problems("kind: Pod\n---\na: b: c\n")
    assert found == [
        "shop.yaml:1: Pod apiVersion: is required",
        "shop.yaml:3: not YAML: mapping values are not allowed in this context",
    ]


def test_many_problems_are_counted() -> None:
    found = problems(stream(*(described("Service", SERVICE, name=f"{n}") for n in range(25))))
    assert len(found) == 21
    assert found[19].startswith("shop.yaml:39: Service/19 metadata.name: ")
    assert found[20] == "… and 5 more"


def test_messages_stay_on_one_line_and_short() -> None:
    (problem,) = problems(
        'apiVersion: v1\nkind: "Serv\\nice\\u202e%s"\nmetadata: {name: "a\\nb"}\n' % ("x" * 5000)
    )
    assert "\n" not in problem
    assert "\u202e" not in problem
    assert len(problem) < 600


def test_cluster_ips_are_checked_against_the_running_lab() -> None:
    service = stream(described("Service", {**SERVICE, "clusterIP": "10.50.0.20"}))
    lab = Cluster(service_cidrs=networks(["10.50.0.0/16"]))
    assert len(load([Source("a", service)], lab).objects) == 1
    with pytest.raises(
        ManifestError, match=r"10\.50\.0\.20 is not an address in serviceCIDR 10\.96\.0\.0/12"
    ):
        load([Source("a", service)])


def test_warnings_come_with_the_objects() -> None:
    assert manifest(SHOP).warnings == (
        "shop.yaml:6: Service/product-service spec.selector: matches no Pod and no workload's template",
    )


# Files


def test_files_keep_the_names_that_users_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lab/b.yml", "lab/a.yaml", "lab/deep/c.json", "lab/notes.txt", "one.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    (tmp_path / "lab/folder.yaml").mkdir()
    assert read_sources([Path("one.conf"), Path("lab")]) == [
        Source("one.conf", "# one.conf"),
        Source("lab/a.yaml", "# lab/a.yaml"),
        Source("lab/b.yml", "# lab/b.yml"),
        Source("lab/deep/c.json", "# lab/deep/c.json"),
    ]


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, line in (
        ("missing.yaml", "missing.yaml: No such file or directory"),
        ("empty", "empty: no manifests (*.yaml, *.yml, *.json) in this folder"),
        ("loop", "loop: Too many levels of symbolic links"),
        ("a\0b", "'a\\x00b': embedded null byte"),
    ):
        with pytest.raises(UserError) as raised:
            read_sources([Path(name)])
        assert str(raised.value) == line


def test_files_that_are_not_text(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(ManifestError) as raised:
        read_sources([file])
    assert raised.value.problems == [f"{file}:2: this is not text in UTF-8"]
    file.write_bytes(b"\xef\xbb\xbf" + SHOP.encode())
    assert len(load(read_sources([file])).objects) == 2


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(UserError, match="larger than 64 MiB"):
        read_sources([file])


def test_a_hundred_thousand_lines() -> None:
    texts = []
    for n in range(2500):
        texts.append(
            f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{n}
  namespace: ns-{n % 10}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: app-{n}
  template:
    metadata:
      labels:
        app: app-{n}
    spec:
      containers:
      - name: web
        image: web:1
        ports:
        - name: http
          containerPort: 8080
        readinessProbe:
          httpGet:
            path: /healthz
            port: http
---
apiVersion: v1
kind: Service
metadata:
  name: app-{n}
  namespace: ns-{n % 10}
spec:
  selector:
    app: app-{n}
  ports:
  - name: web
    port: 80
    targetPort: http
---
"""
        )
    text = "".join(texts)
    assert text.count("\n") == 100_000 - 2500
    loaded = manifest(text + "# padding\n" * 2500)
    assert len(loaded.objects) == 5000
    assert len(loaded.warnings) == 10 and all("there is no Namespace" in line for line in loaded.warnings)
    assert loaded.objects[-1].position.line == 97_500 - 12
    assert loaded.objects[-1].spec["ports"] == [{"name": "web", "port": 80, "targetPort": "http"}]
    assert problems(
        text + texts[0].replace("replicas: 2", "replicas: 3").replace("port: 80", "port: 81")
    ) == [
        "shop.yaml:97501: Deployment/app-0: is already given at shop.yaml:1",
        "shop.yaml:97527: Service/app-0: is already given at shop.yaml:27",
    ]


def test_a_list_of_one_kind_stands_for_its_items() -> None:
    """As an API server answers, whose items don't say what they are."""
    item = "{metadata: {name: %s}, spec: {containers: [{name: c, image: x}]}}"
    both = ", ".join(item % name for name in ("a", "b"))
    found = manifest(f"apiVersion: v1\nkind: PodList\nitems: [{both}]\n").objects
    assert [(o.kind, o.name) for o in found] == [("Pod", "a"), ("Pod", "b")]
    assert problems("apiVersion: v1\nkind: PodeList\nitems: []\n") != []
