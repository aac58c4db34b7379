"""The lab's certificates, judged by the library that the clients use."""

import ssl
from pathlib import Path

import pytest

from dcctl.lab.certificate import ensure_authority, issue


def handshake(certificate: Path, key: Path, *, authority: Path, address: str) -> None:
    """A TLS handshake in memory. Raises ssl.SSLCertVerificationError."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate, key)
    client_context = ssl.create_default_context(cafile=str(authority))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=address)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_a_client_accepts_the_address_and_refuses_another(tmp_path: Path) -> None:
    authority = tmp_path / "operator/ca.pem"
    pair = issue("east", "198.18.1.5", authority=authority, folder=tmp_path / "keys")
    handshake(*pair, authority=authority, address="198.18.1.5")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*pair, authority=authority, address="198.18.2.5")


def test_another_authority_is_refused(tmp_path: Path) -> None:
    pair = issue("east", "198.18.1.5", authority=tmp_path / "a/ca.pem", folder=tmp_path / "a")
    other = ensure_authority(tmp_path / "b/ca.pem", tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*pair, authority=other, address="198.18.1.5")


def test_the_authority_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first = ensure_authority(tmp_path / "ca.pem", tmp_path / "keys").read_bytes()
    assert ensure_authority(tmp_path / "ca.pem", tmp_path / "keys").read_bytes() == first
    assert oct((tmp_path / "keys/ca.key").stat().st_mode)[-3:] == "600"
