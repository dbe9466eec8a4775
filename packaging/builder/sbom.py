"""What is inside: a bill of materials in CycloneDX's JSON, the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from .bundle import Library
from .source import Source


def write_sbom(
    target: Path, source: Source, artefact: str, libraries: Iterable[Library], debian: Iterable[str] = ()
) -> None:
    """Describe `artefact`: commit, bundled libraries with their wheels' hashes, packages of Debian it uses."""
    root = Component(
        name="meshnode",
        version=source.version,
        type=ComponentType.APPLICATION,
        bom_ref="meshnode",
        purl=PackageURL("pypi", None, "meshnode", source.version, {"vcs_url": f"git@{source.commit}"}),
        licenses=[DisjunctiveLicense(id="MIT")],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"meshnode:{source.commit}:{artefact}"))
    bom.metadata.timestamp = datetime.fromtimestamp(source.epoch, UTC)
    bom.metadata.component = root
    components = [*map(_bundled, libraries), *_from_debian(debian)]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(root, components)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n")


def _bundled(library: Library) -> Component:
    return Component(
        name=library.name,
        version=library.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"bundled:{library.name}",
        purl=PackageURL("pypi", None, library.name.lower(), library.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=library.sha256)],
        licenses=[DisjunctiveLicense(name=library.licence)],
    )


def _from_debian(relations: Iterable[str]) -> Iterator[Component]:
    """Packages that the system brings, out of relations like `name (>= version)`; one of them may bear two bounds."""
    bounds: dict[str, list[str]] = {}
    for relation in relations:
        name, _, bound = relation.partition(" ")
        bounds.setdefault(name, []).append(bound)
    for name, texts in bounds.items():
        yield Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=f"debian:{name}",
            purl=PackageURL("deb", "debian", name),
            description=f"of the system {' '.join(texts)}".strip(),
        )
