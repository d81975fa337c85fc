"""The certificates of the servers of :mod:`tests.servers_mail`, good and bad.

The libraries that make them are imported only by who needs one.
"""

import datetime
import ipaddress
import os
import typing as t
from pathlib import Path

Certificate: t.TypeAlias = t.Literal["good", "expired", "other_host", "self_signed"]


def write_certificate(folder: Path, kind: Certificate) -> None:
    """Write ``ca.pem``, and ``certificate.pem`` with its key.

    :param folder: Where to.
    :param kind: What is wrong with the certificate. One that signed itself has
        nothing to do with ``ca.pem``.
    """
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(os.fspath(folder / "ca.pem"))
    if kind == "self_signed":
        pem = make_self_signed()
    else:
        names = (
            ["other.example"] if kind == "other_host" else ["localhost", "127.0.0.1"]
        )
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        ends = yesterday if kind == "expired" else None
        issued = authority.issue_cert(*names, not_after=ends)
        pem = issued.private_key_and_cert_chain_pem.bytes()
    (folder / "certificate.pem").write_bytes(pem)


def make_self_signed() -> bytes:
    """Make a key for localhost and a certificate that it signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), address]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, form, serialization.NoEncryption())
    return secret + certificate.public_bytes(pem)
