"""Several sources in one volume (pkg/volume/projected). Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from emulab.cluster.controllers.world import unix_time
from emulab.kinds.core.accounts import account_of
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.volumes import downwardapi, keyed
from emulab.lab.kubelet.volumes.files import WrittenFile, WrittenFiles, mode_of
from emulab.lab.kubelet.volumes.volume import AskedVolume

_YEAR = 365 * 24 * 3600


def files(asked: AskedVolume) -> WrittenFiles:
    """What several sources want at one path, the last one has. Raises NotMounted."""
    mode = mode_of(asked.settings.get("defaultMode"))
    found: dict[str, WrittenFile] = {}
    for source in asked.settings.get("sources") or ():
        found |= _projected(asked, source, mode)
    return found


def _projected(asked: AskedVolume, source: Mapping[str, Any], mode: int) -> WrittenFiles:
    for field, kind in (("configMap", CONFIG_MAP), ("secret", SECRET)):
        if (settings := source.get(field)) is not None:
            return keyed.files_of(asked, kind, settings["name"], settings, mode)
    if (settings := source.get("downwardAPI")) is not None:
        return downwardapi.files_of(asked, settings.get("items") or (), mode)
    if (settings := source.get("serviceAccountToken")) is not None:
        return {settings["path"]: WrittenFile(_token(asked, settings).encode(), mode)}
    return {}


def _token(asked: AskedVolume, settings: Mapping[str, Any]) -> str:
    """A token of the form that an API server gives out (KEP-1205); there is none here who would take it.

    It lasts for a year, whatever is asked for, so that it need not be written anew; its signature is none.
    """
    domain = asked.cluster.cluster_domain
    issuer = f"https://kubernetes.default.svc.{domain}"
    account = account_of(asked.pod.spec)
    begun = int(unix_time(asked.pod.metadata.get("creationTimestamp")) or 0)
    uid = str(asked.pod.metadata.get("uid") or "")
    claims = {
        "aud": [settings.get("audience") or issuer],
        "exp": begun + _YEAR,
        "iat": begun,
        "iss": issuer,
        "kubernetes.io": {
            "namespace": asked.pod.namespace,
            "pod": {"name": asked.pod.name, "uid": uid},
            "serviceaccount": {"name": account},
        },
        "nbf": begun,
        "sub": f"system:serviceaccount:{asked.pod.namespace}:{account}",
    }
    signed = f"{_encoded({'alg': 'RS256', 'kid': 'emulab'})}.{_encoded(claims)}"
    return f"{signed}.{_base64(hashlib.sha256(signed.encode()).digest())}"


def _encoded(part: Mapping[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
