"""Key pairs for tests, in files as OpenSSL writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.support.certificate import Key


@dataclass(frozen=True)
class Keys:
    """A private key that signs, and the files of its two halves."""

    key: Key
    private: str
    public: str


def make_keys(directory: Path, name: str) -> Keys:
    """A new pair of ed25519, in ``<name>.key`` and ``<name>.pub``."""
    made = Ed25519PrivateKey.generate()
    private, public = directory / f"{name}.key", directory / f"{name}.pub"
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Keys(Key(private.read_bytes()), str(private), str(public))
