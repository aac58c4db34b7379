"""Signed document URLs, against those that Prozorro published."""

import json
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from procurement.domain.signature import Keyring, decode_signature, over_expiry, over_md5
from published import published

SEED = "11" * 32
ID = "a" * 32


def test_every_published_url_verifies_and_only_over_what_it_was_signed_for() -> None:
    vectors = json.loads(published("signed_urls.json").read_text())
    keys = Keyring(SEED, [vectors["ed25519_public_key_hex"]])
    assert keys.knows(vectors["key_id"])
    verified = {"uuid": 0, "uuid+md5": 0}
    for vector in vectors["vectors"]:
        url = urlsplit(vector["url"])
        query = parse_qs(url.query, strict_parsing=True)
        id, key_id = url.path.removeprefix("/get/"), query["KeyID"][0]
        signature = decode_signature(query["Signature"][0])
        assert signature is not None
        message = over_md5(id, vector["md5"]) if vector["signed_over"] == "uuid+md5" else id
        assert keys.verify(key_id, message, signature), vector
        others = {id, over_md5(id, "0" * 32), over_md5(id, "1" * 32), over_expiry(id, 1557317176)} - {message}
        assert not any(keys.verify(key_id, other, signature) for other in others)
        assert not keys.verify(keys.key_id, message, signature)
        verified[vector["signed_over"]] += 1
    assert sum(verified.values()) == len(vectors["vectors"])
    assert min(verified.values()) > 0


@pytest.mark.parametrize("message", [ID, over_md5(ID, "0" * 32), over_expiry(ID, 1)])
def test_what_we_sign_we_verify_encoded_once_or_twice(message: str) -> None:
    keys = Keyring(SEED)
    query = parse_qs(keys.query(message), strict_parsing=True)
    assert query["KeyID"] == [keys.key_id]
    for text in (query["Signature"][0], quote(query["Signature"][0])):
        signature = decode_signature(text)
        assert signature is not None
        assert keys.verify(keys.key_id, message, signature)
        assert not keys.verify(keys.key_id, message + "0", signature)


def test_a_key_that_is_not_in_the_ring_verifies_nothing() -> None:
    ours, theirs = Keyring(SEED), Keyring("22" * 32)
    signature = decode_signature(parse_qs(theirs.query(ID))["Signature"][0])
    assert signature is not None
    assert not ours.verify(theirs.key_id, ID, signature)
    assert not ours.verify(ours.key_id, ID, signature)


@pytest.mark.parametrize("text", ["*", "a", "ä", "===="])
def test_text_that_is_not_base64_is_no_signature(text: str) -> None:
    assert decode_signature(text) is None
