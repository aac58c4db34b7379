"""Signed document URLs, as Prozorro's document service and API make them.

A URL is ``HOST/get/<32 hex>?Signature=…&KeyID=…``: KeyID is the first 8 hex digits of an Ed25519 public
key, Signature is base64, percent-encoded once or twice. What is signed says what the URL is good for:

- ``uuid``                 download; this is what the API publishes
- ``uuid NUL expires``     download until that second since 1970
- ``uuid NUL md5``         attach to a tender: proof that the document service has these very bytes
- ``uuid`` under /upload/  upload the bytes that were registered
"""

import base64
import binascii
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_ID_LENGTH = 8
SEED_BYTES = 32


class Keyring:
    """Our signing key, and every public key whose signatures we accept, our own among them."""

    def __init__(self, seed_hex: str, accepted_hex: Iterable[str] = ()) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex))
        own_hex = self._private.public_key().public_bytes_raw().hex()
        self.key_id = own_hex[:KEY_ID_LENGTH]
        self._accepted = {
            key_hex[:KEY_ID_LENGTH]: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key_hex))
            for key_hex in (own_hex, *accepted_hex)
        }

    def knows(self, key_id: str) -> bool:
        """Whether signatures of this key can be verified here."""
        return key_id in self._accepted

    def query(self, message: str, **more: str) -> str:
        """The query of a URL signed over ``message``."""
        signature = base64.b64encode(self._private.sign(message.encode())).decode()
        return urlencode({"Signature": signature, "KeyID": self.key_id, **more}, quote_via=quote)

    def verify(self, key_id: str, message: str, signature: bytes) -> bool:
        """Whether this key, known to us, signed this message."""
        key = self._accepted.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, message.encode())
        except InvalidSignature:
            return False
        return True


def decode_signature(text: str) -> bytes | None:
    """The bytes of a ``Signature`` parameter, which may be percent-encoded once more; None: not base64."""
    try:
        return base64.b64decode(unquote(text), validate=True)
    except (binascii.Error, ValueError):
        return None


def over_md5(document_id: str, md5: str) -> str:
    """The message that binds a document's id to its bytes."""
    return f"{document_id}\0{md5}"


def over_expiry(document_id: str, expires_s: int) -> str:
    """The message of a download that ends at a second since 1970."""
    return f"{document_id}\0{expires_s}"
