"""What is left of a lab that is killed while it is started or changed: nothing.

The points at which something is killed are random but seeded, so a failure can be run again.
"""

from __future__ import annotations

import time

import pytest

from .crashes import (
    SHOP,
    User,
    assert_plain,
    eventually,
    finish,
    kill,
    kill_earliest,
    moments,
    moments_of_up,
    pause_until,
)

pytestmark = pytest.mark.both_users

# More pods, another Service and a real program, so that an `apply` has a middle.
MORE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: product, labels: {app: product}}
spec:
  replicas: 12
  selector: {matchLabels: {app: product, tier: backend}}
  template:
    metadata: {labels: {app: product, tier: backend}}
    spec: {containers: [{name: product, image: "shop/product:1.0", ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: second}
spec: {selector: {app: product}, ports: [{port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: real}
spec: {containers: [{name: sleeper, image: "any:1", command: [sleep, "1000"]}]}
"""


COMMAND = 'command: [sh, -c, "sleep 1000 & exec sleep 1000"]'
CONTAINER = f"{{name: c, image: busybox, {COMMAND}, resources: {{limits: {{memory: 64Mi}}}}}}"
VOLUMES = "[{name: e, emptyDir: {sizeLimit: 1Mi}}]"
ONE = f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: small}}
spec: {{nodes: 1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: first}}
spec: {{containers: [{CONTAINER}]}}
"""
FIFTY = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: many}}
spec:
  replicas: 50
  selector: {{matchLabels: {{app: many}}}}
  template:
    metadata: {{labels: {{app: many}}}}
    spec: {{shareProcessNamespace: true, volumes: {VOLUMES}, containers: [{CONTAINER}]}}
"""


def test_kill_supervisor_during_up(user: User) -> None:
    killed = 0
    points = moments_of_up(user)
    for moment in points:
        end = time.monotonic() + moment
        process = user.start("up", SHOP)
        eventually(lambda: user.earliest() != 0)
        pause_until(end)
        user.note()
        killed += kill_earliest(user)
        assert_plain(finish(process))
        user.assert_gone()
    assert killed == len(points) > 0
    user.up()
    assert user.answers()


def test_kill_supervisor_during_apply(user: User) -> None:
    more = user.run_dir / "more.yaml"
    more.write_text(MORE)
    more.chmod(0o644)
    user.up()
    points = moments(user, "apply", "-f", str(more))
    assert points and user.run("down").returncode == 0
    for moment in points:
        user.up()
        assert user.answers()  # so the `up` after each crash works
        end = time.monotonic() + moment
        process = user.start("apply", "-f", str(more))
        pause_until(end)
        user.note()
        assert kill(user.supervisor())
        assert_plain(finish(process))
        user.assert_gone()
    user.up()
    assert user.answers()


def test_kill_supervisor_while_fifty_containers_start(user: User) -> None:
    """Their roots, cgroups and PID namespaces are half made then, and half of what each shares with its Pod."""
    many = user.run_dir / "many.yaml"
    many.write_text(FIFTY)
    many.chmod(0o644)
    one = user.run_dir / "one.yaml"
    one.write_text(ONE)
    one.chmod(0o644)
    user.up(str(one))
    points = moments(user, "apply", "-f", str(many), count=3)
    assert points and user.run("down").returncode == 0
    user.assert_gone()
    for moment in points:
        user.up(str(one))
        end = time.monotonic() + moment
        process = user.start("apply", "-f", str(many))
        pause_until(end)
        user.note()
        assert kill(user.supervisor())
        assert_plain(finish(process))
        user.assert_gone()
    user.up(str(one))
    assert user.run("exec", "first", "--", "true").returncode == 0


def test_kill_starting_command(user: User) -> None:
    killed = 0
    for moment in moments_of_up(user):
        process = user.start("up", SHOP)
        time.sleep(moment * 0.9)
        user.note()
        process.kill()
        # It may have been quicker than the one that was measured, up to the very last moment: a supervisor that was
        # busy when it was told to stay may have heard of it only after the end of who told it.
        ended = finish(process).returncode
        assert eventually(lambda: user.released() or not user.left())
        if ended == 0 or user.released():
            assert user.run("down").returncode == 0
        else:
            killed += 1
        user.assert_gone()
    assert killed
    user.up()
    assert user.answers()
