"""A small certificate authority for tests: good, expired and wrong-host server certificates."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

_DAY = datetime.timedelta(days=1)


class Certificates(NamedTuple):
    """Files of a test authority.

    Attributes:
        ca_file: the authority's certificate.
        servers: kind to (certificate file, key file).
    """

    ca_file: Path
    servers: dict[str, tuple[Path, Path]]


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and server certificates for 127.0.0.1 in a directory.

    The kinds are ``good``, ``expired`` (yesterday) and ``wrong-host`` (another host's name).

    Raises:
        ImportError: the package ``cryptography`` is missing (extra ``testing``).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edeposit.amqp test authority")])

    def builder(
        name: "x509.Name", key: "ec.EllipticCurvePrivateKey", until: datetime.datetime
    ) -> "x509.CertificateBuilder":
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * _DAY)
            .not_valid_after(until)
        )

    def write(name: str, data: bytes) -> Path:
        path = directory / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = (
        builder(ca_name, ca_key, now + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file = write("ca.pem", authority.public_bytes(pem))
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    servers = {}
    for kind, until, host in (
        ("good", now + 30 * _DAY, loopback),
        ("expired", now - _DAY, loopback),
        ("wrong-host", now + 30 * _DAY, x509.DNSName("elsewhere.example")),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            builder(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {kind}")]), key, until
            )
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False
            )
            .sign(ca_key, hashes.SHA256())
        )
        key_data = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        servers[kind] = (
            write(f"{kind}.pem", certificate.public_bytes(pem)),
            write(f"{kind}.key", key_data),
        )
    return Certificates(ca_file, servers)
