"""Kinds of Kubernetes whose controllers there aren't yet: kept, with a warning."""

from __future__ import annotations

from emulab.kinds.aside import check
from emulab.kinds.definition import Definition, kept

DEFINITION = Definition(check=check, standing=kept("would make pods; it makes none here"))
