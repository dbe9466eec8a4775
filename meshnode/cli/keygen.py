"""`meshctl keygen`: a new identity, on the screen or in key files (spec 06 section 8)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from meshnode.paths import KEY_NAME

from .client import ToolError


def keygen(directory: str, *, force: bool, to_stdout: bool, as_json: bool) -> None:
    """Make a key pair. Raises `ToolError` when the files cannot or shall not be written."""
    # Imported here because they take longer to load than everything else this tool does.
    from meshnode.identity import Identity

    identity = Identity.generate(os.urandom)
    if to_stdout:
        both = {"nsec": identity.nsec, "npub": identity.npub}
        print(json.dumps(both, indent=2) if as_json else f"{identity.nsec}\n{identity.npub}")
        return
    kept = _write(Path(directory), identity, force)
    if as_json:
        facts = {"npub": identity.npub, "directory": directory, "previous_key": None if kept is None else str(kept)}
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(_report(identity.npub, directory, kept)), file=sys.stderr)


def _write(directory: Path, identity: Any, force: bool) -> Path | None:
    from meshnode.config.errors import ConfigError
    from meshnode.config.keyfile import write_keypair

    key = directory / KEY_NAME
    if os.path.lexists(key) and not force:
        raise ToolError(f"key file already exists: {key}; use --force to replace it")
    try:
        return write_keypair(directory, identity, force=force)
    except ConfigError as error:
        raise ToolError(str(error)) from None


def _report(npub: str, directory: str, kept: Path | None) -> list[str]:
    return [
        npub,
        f"Key files written to: {directory.rstrip('/')}/",
        *([] if kept is None else [f"The key that was there is kept in {kept}"]),
        "",
        "NOTE: a node uses them when its fips.yaml lies beside them and has `node.identity.persistent: true`;",
        "      without that line it writes a new key over them at its next start.",
    ]
