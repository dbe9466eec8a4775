"""Taking over the configuration of a reference daemon: a copy of its directory, checked before and after.

The source is only ever read. A file that stands in the way is never lost either: nothing is copied while there is one,
or it is kept under another name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from meshnode.paths import CONFIG_NAME, KEY_NAME

from .client import ToolError

if TYPE_CHECKING:
    from meshnode.config.load import Loaded

SAMPLES: Final = Path("/usr/share/meshnode")
"""Where our packages keep what they start a machine with; such a file may be replaced, if nobody changed it."""
KEPT: Final = ".before-migration"
_PRIVATE: Final = 0o600
_MOST_FILES: Final = 1000
_UNITS: Final = ("fips", "fips-dns", "fips-firewall", "fips-gateway")
_OUR_UNITS: Final = {"fips-gateway": "meshnode-gateway"}
_UNIT_DIRECTORIES: Final = ("etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system")


class Action(Enum):
    """What becomes of one file; the value is what the report calls it."""

    COPY = "copy"
    SAME = "is there already"
    REPLACE = "replace"
    CONFLICT = "in the way"


@dataclass(frozen=True, slots=True)
class Step:
    """One file to take over. `aside` is where what stands at `target` will be kept, None when it need not be."""

    action: Action
    source: Path
    target: Path
    aside: Path | None = None


@dataclass(slots=True)
class Plan:
    """Everything that would be done. `npub` is the name the node has and keeps, None if it has no lasting one."""

    source: Path
    target: Path
    steps: list[Step]
    npub: str | None
    directories: list[Path] = field(default_factory=list)
    """Those of the target, in the order to make them."""
    remarks: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)

    @property
    def conflicts(self) -> list[Path]:
        return [step.target for step in self.steps if step.action is Action.CONFLICT]


def survey(source: Path, target: Path, *, replace: bool, samples: Path = SAMPLES, root: Path = Path("/")) -> Plan:
    """Find out what taking over `source` means, and change nothing. Raises `ToolError` when it cannot be done.

    `replace` allows to put files of `target` aside. `root` is where the units of services are looked for.
    """
    _check(source, target)
    plan = Plan(source, target, [], None)
    for file in _files(source, plan):
        plan.steps.append(_step(file, target / file.relative_to(source), samples, replace))
    plan.steps.sort(key=lambda step: step.source.name == CONFIG_NAME)  # a service waits for it, so it comes last
    loaded = _load(source / CONFIG_NAME, plan)
    plan.npub = _identity(loaded, source)
    if _is_fleeting(loaded):
        plan.remarks.append("node.identity.persistent is not true: as before, the node has a new name at each start")
    plan.remarks += _mentions(source)
    plan.todo += _services(plan, root)
    return plan


def carry_out(plan: Plan) -> None:
    """Copy. Raises `ToolError` with the file at fault; what was copied until then stays, and calling again goes on."""
    if plan.conflicts:
        names = ", ".join(map(str, plan.conflicts))
        raise ToolError(
            f"nothing was copied, because other files stand in the way: {names}; --replace keeps them aside"
        )
    step: Step | None = None
    try:
        for directory in plan.directories:
            _make_directories(directory, plan)
        for step in plan.steps:
            _copy(step, plan)
    except OSError as error:
        what = f"make {error.filename}" if step is None else f"copy {step.source} to {step.target}"
        raise ToolError(f"cannot {what}: {error.strerror or error}") from None
    found = _identity(_load(plan.target / CONFIG_NAME, Plan(plan.target, plan.target, [], None)), plan.target)
    if plan.npub is not None and found != plan.npub:
        raise ToolError(f"{plan.target} has become {found or 'nobody'}, not {plan.npub}; {plan.source} is as it was")


def _check(source: Path, target: Path) -> None:
    """Raises `ToolError` unless there is a configuration in `source` and `target` lies apart from it."""
    if source.resolve() == target.resolve():
        raise ToolError(f"{source} is both source and target; name another directory with --to")
    if target.resolve().is_relative_to(source.resolve()):
        raise ToolError(f"{target} lies in {source}, which is only read; name another directory with --to")
    try:
        (source / CONFIG_NAME).open("rb").close()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ToolError(f"there is no {source / CONFIG_NAME}; name the directory that holds it with --from") from None
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> ToolError:
    hint = "; try again with sudo" if isinstance(error, PermissionError) else ""
    return ToolError(f"cannot read {error.filename}: {error.strerror}{hint}")


def _files(source: Path, plan: Plan) -> Iterator[Path]:
    """Every file below `source`, links followed; notes directories, and what is neither, in the plan.

    Raises `ToolError` for a directory that cannot be read, and where links lead to more than a configuration.
    """
    count, seen = 0, set(source.resolve().parents)
    for directory, names, files in os.walk(source, onerror=_stop, followlinks=True):
        here, meant = Path(directory), Path(directory).resolve()
        if meant in seen:
            plan.remarks.append(f"{here} leads back to {meant} and is left out")
            names.clear()
            continue
        seen.add(meant)
        plan.directories.append(plan.target / here.relative_to(source))
        names.sort()
        for path in (here / name for name in sorted([*files, *names])):
            if path.is_symlink() and path.exists() and path.resolve() not in seen:
                plan.remarks.append(f"{path} is a link to {path.resolve()}; what it leads to is copied")
            if path.is_file():
                yield path
            elif not path.is_dir():
                plan.remarks.append(f"{path} is no file and is left out")
        count += len(files)
        if count > _MOST_FILES:
            raise ToolError(f"there are more than {_MOST_FILES} files below {source}; is there a link to elsewhere?")


def _stop(error: OSError) -> NoReturn:
    raise _unreadable(error)


def _step(source: Path, target: Path, samples: Path, replace: bool) -> Step:
    """What becomes of one file. Raises `ToolError` when it cannot be read."""
    if not os.path.lexists(target):
        return Step(Action.COPY, source, target)
    try:
        wanted, found = source.read_bytes(), target.read_bytes()
    except OSError as error:
        raise _unreadable(error) from None
    if wanted == found and not target.is_symlink():
        return Step(Action.SAME, source, target)
    if _is_sample(found, samples / f"{target.name}.example"):
        return Step(Action.REPLACE, source, target)
    if replace:
        return Step(Action.REPLACE, source, target, _free_name(target))
    return Step(Action.CONFLICT, source, target)


def _is_sample(content: bytes, sample: Path) -> bool:
    try:
        return sample.read_bytes() == content
    except OSError:
        return False


def _free_name(target: Path) -> Path:
    """A name beside `target` that nothing has."""
    name, number = target.with_name(target.name + KEPT), 1
    while os.path.lexists(name):
        number += 1
        name = target.with_name(f"{target.name}{KEPT}-{number}")
    return name


def _copy(step: Step, plan: Plan) -> None:
    if step.action is Action.SAME:
        return
    _make_directories(step.target.parent, plan)
    draft = step.target.with_name(f".{step.target.name}.migrating")
    draft.unlink(missing_ok=True)
    try:
        # Nobody else may read it, not even for a moment: it may hold a key.
        with open(step.source, "rb") as old, open(draft, "xb", opener=_private) as new:
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
        _like(step.source, draft, private=step.target.name == KEY_NAME)
        if step.aside is not None:
            os.rename(step.target, step.aside)
        os.replace(draft, step.target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, _PRIVATE)


def _make_directories(directory: Path, plan: Plan) -> None:
    """Make `directory` below the target, each level like the one it is a copy of."""
    for level in reversed([directory, *directory.parents]):
        if not level.exists():
            level.mkdir(0o700)
            if level.is_relative_to(plan.target):
                _like(plan.source / level.relative_to(plan.target), level)
            else:
                level.chmod(0o755)


def _like(source: Path, copy: Path, *, private: bool = False) -> None:
    """Give the copy times, permissions, access control lists and, where we may, the owner of the source."""
    status = source.stat()
    if os.geteuid() == 0:
        os.chown(copy, status.st_uid, status.st_gid)
    if private:
        os.chmod(copy, _PRIVATE)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        shutil.copystat(source, copy)


def _load(file: Path, plan: Plan) -> Loaded | None:
    """Read the configuration as a node does; what keeps one from starting is noted as something to mend."""
    from meshnode.config.errors import ConfigError
    from meshnode.config.features import unsupported
    from meshnode.config.load import load
    from meshnode.config.validate import CONTEXT, validate

    try:
        loaded = load(file, os.environ, Path.cwd())
    except ConfigError as error:
        plan.todo.append(f"mend the copy: {error}")
        return None
    plan.remarks += loaded.warnings
    plan.todo += [f"mend the copy: {line}" for line in unsupported(loaded.config, loaded.places)]
    try:
        validate(loaded.config, loaded.places)
    except ConfigError as error:
        plan.todo.append(f"mend the copy: {str(error).removeprefix(CONTEXT)}")
    return loaded


def _identity(loaded: Loaded | None, directory: Path) -> str | None:
    """The npub a node has with these files, None when there is none yet. Raises `ToolError` for a broken key."""
    from meshnode.config.errors import ConfigError
    from meshnode.config.keyfile import KeyFiles
    from meshnode.identity import Identity, IdentityError

    nsec = None if loaded is None else loaded.config.node.identity.nsec
    try:
        if nsec is not None:
            return Identity.parse(nsec).npub
        found = KeyFiles(directory).read_key()
    except (ConfigError, IdentityError) as error:
        raise ToolError(f"the identity cannot be taken over: {error}") from None
    return None if found is None else found[0].npub


def _is_fleeting(loaded: Loaded | None) -> bool:
    """Whether a node makes a new key at each start."""
    section = None if loaded is None else loaded.config.node.identity
    return section is not None and section.nsec is None and not section.persistent


def _mentions(source: Path) -> Iterator[str]:
    """Lines of the configuration that go on naming the old directory."""
    text = (source / CONFIG_NAME).read_text("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if f"{source}/" in line.partition("#")[0]:
            yield f"line {number} of the copy still names {source}: {line.strip()}"


def _services(plan: Plan, root: Path) -> Iterator[str]:
    """What is left to do about the services of this machine, in the order to do it."""
    there = [unit for unit in _UNITS if any((root / place / f"{unit}.service").exists() for place in _UNIT_DIRECTORIES)]
    if "fips-firewall" in there and (plan.source / "fips.nft").exists():
        yield (
            "if fips-firewall.service guarded the mesh interface, write `meshnode: { firewall: { enabled: true } }` "
            f"into {plan.target / CONFIG_NAME}; the rules in fips.d go on counting"
        )
    for unit in _UNITS:
        if (settings := root / f"etc/systemd/system/{unit}.service.d").is_dir():
            ours = settings.with_name(f"{_OUR_UNITS.get(unit, 'meshnode')}.service.d")
            yield f"look through {settings}, which counts for {unit} alone; what is to stay belongs into {ours}"
    if there:
        yield f"systemctl disable --now {' '.join(there)}"
    yield "systemctl enable --now meshnode"
