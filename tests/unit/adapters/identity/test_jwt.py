"""One signature and one key: the key has a say too."""

from __future__ import annotations

import pytest
from joserfc.jwk import Key

from doorward.adapters.identity import jwt
from tests.rig.issuer import LocalIssuer, ec_key, ed_key, local_issuer, rsa_key

__all__ = ["local_issuer"]


@pytest.mark.parametrize("key", [rsa_key(), ed_key(), ec_key()])
def test_a_key_verifies_its_own_type_only(local_issuer: LocalIssuer, key: Key) -> None:
    """A key of another type, or another key of the same type, has not signed, and asking is not an error."""
    token = jwt.parse(local_issuer.mint())
    assert not jwt.signed_by(token, key)  # type: ignore[arg-type]
    own = local_issuer.keys[0]
    assert jwt.signed_by(token, own)  # type: ignore[arg-type]


def test_no_printed_form_of_a_token_holds_it(local_issuer: LocalIssuer) -> None:
    """repr, which logs and tracebacks use, shows no claim and no signature."""
    shown = repr(jwt.parse(local_issuer.mint(sub="alice-in-the-token")))
    assert "alice" not in shown
    assert "signature" not in shown
