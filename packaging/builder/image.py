"""The container image: Debian, the package, a start out of the environment; an OCI layout, made without an engine."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .archives import normalise, write_tar
from .deb import Release, deb
from .source import Source

_TYPE = "application/vnd.oci.image"
_PROGRAMS = "nftables,iproute2,iputils-ping,curl"
ENTRY = "/usr/local/bin/meshnode-container"
_TRACES = (
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/log",
    "etc/meshnode/fips.yaml",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
)
"""What differs from one installation to the next, and a first configuration that the environment takes the place of."""


def image(source: Source, output: Path, release: Release, architecture: str) -> Path:
    """`meshnode-VERSION-image-ARCHITECTURE.tar`, for podman load, skopeo and docker load."""
    if shutil.which("mmdebstrap") is None:
        raise SystemExit("the image needs mmdebstrap; type: sudo apt-get install mmdebstrap")
    with TemporaryDirectory() as scratch:
        package = deb(source, Path(scratch), release, architecture)
        system = Path(scratch) / "system.tar"
        _install(package, system, source, release, architecture)
        layout = Path(scratch) / "layout"
        _lay_out(layout, system, source, architecture)
        normalise(layout, source.epoch)
        output.mkdir(parents=True, exist_ok=True)
        return write_tar(output / f"meshnode-{source.version}-image-{architecture}.tar", layout, source.epoch)


def _install(package: Path, system: Path, source: Source, release: Release, architecture: str) -> None:
    entry = shlex.quote(str(source.root / "packaging/container/meshnode-container"))
    remove = " ".join(f'"$1/{path}"' for path in _TRACES)
    hooks = [
        f"cp {package} $1/tmp/meshnode.deb",
        'chroot "$1" apt-get install --yes --no-install-recommends /tmp/meshnode.deb',
        f'rm -rf "$1/tmp/meshnode.deb" {remove}; mkdir -p "$1/var/log" "$1/var/cache/apt/archives/partial"',
        f"install -m 0755 {entry} $1{ENTRY}",
    ]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={architecture}"]
    command += [f"--include={_PROGRAMS}", *(f"--customize-hook={hook}" for hook in hooks), release.name, str(system)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source.epoch), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"mmdebstrap failed:\n{done.stdout}{done.stderr}")


def _lay_out(layout: Path, system: Path, source: Source, architecture: str) -> None:
    """Write the blobs and what points at them (OCI image layout 1.0)."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with open(system, "rb") as file:
        plain = hashlib.file_digest(file, "sha256").hexdigest()
    packed = layout / "layer"
    with open(system, "rb") as file, open(packed, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        shutil.copyfileobj(file, stream, 1 << 20)
    with open(packed, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = packed.stat().st_size
    packed.rename(blobs / digest)
    settings = _blob(blobs, _settings(source, architecture, plain), f"{_TYPE}.config.v1+json")
    layer = {"mediaType": f"{_TYPE}.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "config": settings,
        "layers": [layer],
    }
    name = {"org.opencontainers.image.ref.name": f"meshnode:{source.version}"}
    index = {
        "schemaVersion": 2,
        "manifests": [{**_blob(blobs, manifest, f"{_TYPE}.manifest.v1+json"), "annotations": name}],
    }
    (layout / "index.json").write_bytes(_json(index))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def _settings(source: Source, architecture: str, layer: str) -> dict[str, Any]:
    created = datetime.fromtimestamp(source.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": [ENTRY],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "ExposedPorts": {"2121/udp": {}},
            "Labels": {
                "org.opencontainers.image.title": "meshnode",
                "org.opencontainers.image.version": source.version,
                "org.opencontainers.image.revision": source.commit,
                "org.opencontainers.image.licenses": "MIT",
            },
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created": created, "created_by": f"packaging/build image, commit {source.commit}"}],
    }


def _blob(blobs: Path, content: dict[str, Any], kind: str) -> dict[str, Any]:
    data = _json(content)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
