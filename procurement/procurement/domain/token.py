"""Access tokens: shown once, kept as a hash. They are 128 random bits, so a plain SHA-256 is enough."""

import hashlib
import hmac
import secrets


def new_token() -> str:
    """32 hex digits."""
    return secrets.token_hex(16)


def token_hash(token: str) -> bytes:
    """What is kept in the database."""
    return hashlib.sha256(token.encode()).digest()


def token_matches(token: str, kept: bytes) -> bool:
    """Whether ``token`` is the one whose hash was kept, in constant time."""
    return hmac.compare_digest(token_hash(token), kept)
