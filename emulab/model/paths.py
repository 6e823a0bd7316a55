"""Where in an object something stands."""

from __future__ import annotations

Step = str | int
FieldPath = tuple[Step, ...]
"""Keys and indices from the object to what is meant: `("spec", "ports", 0, "port")`."""
