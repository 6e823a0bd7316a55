"""Certificates that are shown as if they were valid at other times."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tlspairs import pair

from emulab.servers.l7.config import Certificate
from emulab.servers.l7.dated import dated
from emulab.servers.selfsigned import make_context


@pytest.mark.parametrize("is_rsa", [False, True])
def test_names_and_key_stay_and_dates_are_others(is_rsa: bool) -> None:
    own, key = pair("shop.test", is_rsa=is_rsa)
    one = Certificate(("shop.test",), own, key, begins=-100, ends=-10)
    (shown,) = dated([one])
    made = x509.load_pem_x509_certificate(shown.certificate.encode())
    before = x509.load_pem_x509_certificate(own.encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.test"]
    spki = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert made.public_key().public_bytes(*spki) == before.public_key().public_bytes(*spki)
    since = time.time() - made.not_valid_after_utc.timestamp()
    assert 9 <= since < 60 and made.not_valid_before_utc < made.not_valid_after_utc
    made.verify_directly_issued_by(before)
    assert made.subject != made.issuer == before.subject
    make_context(shown.certificate, shown.key)
    assert dated([one]) == (shown,)  # it isn't signed anew each time


def test_the_default_one_has_other_dates_too() -> None:
    (shown,) = dated([Certificate(("shop.test",), "", "", begins=3600, ends=7200)])
    made = x509.load_pem_x509_certificate(shown.certificate.encode())
    assert made.not_valid_before_utc.timestamp() > time.time() + 3000


def test_all_others_stay_as_they_are() -> None:
    plain = Certificate(("shop.test",), *pair("shop.test"))
    broken = Certificate(("x.test",), "no PEM", "none", begins=1, ends=2)
    assert dated([plain, broken]) == (plain, broken)
