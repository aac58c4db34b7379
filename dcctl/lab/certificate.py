"""The lab's certificate authority: both cloud APIs speak TLS, and their clients verify it.

Made anew with each lab, in ``OPERATOR``, so that no key outlives it. RSA 2048 because every client speaks
it; names are IP addresses (RFC 5280, subject alternative name), as the lab has no name service.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dcctl.lab.paths import OPERATOR, RUN

AUTHORITY = OPERATOR / "ca.pem"
FOLDER = RUN / "certificates"
VALID = timedelta(days=30)


def ensure_authority(authority: Path = AUTHORITY, folder: Path = FOLDER) -> Path:
    """Make the authority unless there is one; return its certificate's path. ``folder`` keeps its key."""
    authority_key = folder / "ca.key"
    if not (authority.exists() and authority_key.exists()):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = _name("dcctl lab authority")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(authority_key, key)
        _write_certificate(authority, certificate)
    return authority


def issue(
    place: str, address: str, *, authority: Path = AUTHORITY, folder: Path = FOLDER
) -> tuple[Path, Path]:
    """A server certificate for ``address``, with its key: the paths of both, PEM."""
    issuer = x509.load_pem_x509_certificate(ensure_authority(authority, folder).read_bytes())
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, rsa.RSAPrivateKey)  # noqa: S101  # we wrote it
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = (
        _builder(_name(f"{place} {address}"), issuer.subject, key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    certificate_path, key_path = folder / f"{place}.pem", folder / f"{place}.key"
    _write_key(key_path, key)
    _write_certificate(certificate_path, certificate)
    return certificate_path, key_path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
    )


def _write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
