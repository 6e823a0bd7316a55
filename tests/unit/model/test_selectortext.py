"""Selectors as they are written: what they ask for, and apimachinery's words for those that mean nothing."""

from __future__ import annotations

import pytest

from emulab.errors import UserError
from emulab.model.selectortext import FieldRequirement, field_requirements, label_requirements

LABELS = {"app": "web", "tier": "front", "n": "7"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=db", False),
        ("app!=db,other!=x", True),
        ("app in (web, db)", True),
        ("app notin (web)", False),
        ("other notin (web)", True),
        ("app", True),
        ("!app", False),
        ("!other, app", True),
        ("n>6,n<8", True),
        ("n>7", False),
        ("app>1", False),
        ("app=", False),
        ("app.kubernetes.io/name", False),
    ],
)
def test_label_selectors(text: str, holds: bool) -> None:
    assert all(requirement.holds(LABELS) for requirement in label_requirements(text)) == holds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a==b==c", "unable to parse requirement: found '==', expected: ',' or 'end of string'"),
        ("a=b,", "unable to parse requirement: found '', expected: identifier after ','"),
        ("=a", "unable to parse requirement: found '=', expected: !, identifier, or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x', expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
    ],
)
def test_label_selectors_that_mean_nothing(text: str, error: str) -> None:
    with pytest.raises(UserError) as found:
        label_requirements(text)
    assert str(found.value) == error


@pytest.mark.parametrize(
    "text", ["a/b/c=d", "../a", "A.b/c", "/a", "a/", f"{'a' * 254}/b", "-a=b", "a=-b", "n>many"]
)
def test_labels_that_no_object_may_have(text: str) -> None:
    with pytest.raises(UserError, match="Invalid value"):
        label_requirements(text)


def test_field_selectors() -> None:
    assert field_requirements(r"a.b=c,d!=e,f==g\,h,i=") == (
        FieldRequirement("a.b", True, "c"),
        FieldRequirement("d", False, "e"),
        FieldRequirement("f", True, "g,h"),
        FieldRequirement("i", True, ""),
    )
    with pytest.raises(UserError) as found:
        field_requirements("a=b,x")
    assert str(found.value) == "invalid selector: 'a=b,x'; can't understand 'x'"
