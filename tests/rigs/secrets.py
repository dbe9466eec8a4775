"""All the forms in which a secret could show itself in text."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from meshnode.identity import bech32_encode


def forms(secret: bytes) -> dict[str, str]:
    """The texts that stand for `secret`, by what they are called. Text is compared in lower case."""
    return {
        "hex": secret.hex(),
        "spaced hex": secret.hex(" "),
        "nsec": bech32_encode("nsec", secret),
        "base64": base64.b64encode(secret).decode().rstrip("=").lower(),
        "url base64": base64.urlsafe_b64encode(secret).decode().rstrip("=").lower(),
        "bytes": repr(secret)[2:-1].lower(),
        "number": str(int.from_bytes(secret, "big")),
        "list": str(list(secret)).strip("[]"),
    }


def found_in(text: str, secrets: Iterable[bytes]) -> list[str]:
    """Which secrets `text` gives away, and how; empty when all is well."""
    lowered = text.lower()
    return [
        f"secret {number} as {form}"
        for number, secret in enumerate(secrets)
        for form, shape in forms(secret).items()
        if shape in lowered
    ]
