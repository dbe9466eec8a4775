"""`meshctl migrate`: everything arrives, the source stays as it was, and nothing that was there is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshnode.cli import migration
from meshnode.cli.client import ToolError
from meshnode.cli.main import main
from meshnode.cli.migration import Action, carry_out, survey
from meshnode.config.keyfile import KeyFiles
from meshnode.identity import Identity

ME = Identity.generate(lambda size: bytes([7]) * size)
ORDINARY_USER = 65533
OTHER = Identity.generate(lambda size: bytes([9]) * size)
CONFIG = "# mine\nnode:\n  identity:\n    persistent: true\ntransports:\n  udp: {}\n"
FILES = {
    "fips.yaml": (CONFIG, 0o600),
    "fips.key": (f"{ME.nsec}\n", 0o600),
    "fips.pub": (f"{ME.npub}\n", 0o644),
    "hosts": (f"box {OTHER.npub}\n", 0o644),
    "peers.allow": (f"{OTHER.npub}  # a friend\n", 0o640),
    "peers.deny": ("ALL\n", 0o640),
    "fips.d/10-ssh.nft": ("tcp dport 22 accept\n", 0o644),
    "notes of mine.txt": ("keep\n", 0o604),
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, (text, mode) in FILES.items():
        write(tmp_path / "fips" / name, text, mode)
    return tmp_path / "fips"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "meshnode"


@pytest.fixture
def run(source: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*options: str) -> tuple[int, str, str]:
        status = main(["migrate", "--from", str(source), "--to", str(target), *options])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def tree(directory: Path) -> dict[str, tuple[str, int, int]]:
    """Every file below a directory: text, permissions, time of change."""
    return {
        str(path.relative_to(directory)): (path.read_text(), path.stat().st_mode & 0o777, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_file_arrives_as_it_was_and_the_source_stays(run: Run, source: Path, target: Path) -> None:
    before = tree(source)
    status, out, _ = run()
    assert status == 0
    assert tree(target) == before == tree(source)
    assert set(before) == set(FILES)
    assert f"the node is {ME.npub}\n" in out


def test_a_dry_run_tells_the_same_and_changes_nothing(run: Run, target: Path) -> None:
    status, out, _ = run("--dry-run")
    assert (status, target.exists()) == (0, False)
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("copy ")] == [
        str(target / name) if " " not in name else name.split()[-1] for name in sorted(FILES, key=order)
    ]
    assert "nothing was changed (--dry-run)\n" in out


def order(name: str) -> tuple[bool, bool, str]:
    """The order of copying: the configuration last, files before directories."""
    return name == "fips.yaml", "/" in name, name


def test_a_second_time_there_is_nothing_left_to_copy(run: Run, target: Path) -> None:
    run()
    before = tree(target)
    status, out, _ = run("--dry-run")
    assert status == 0
    assert "nothing is left to copy\n" in out
    assert run()[0] == 0
    assert tree(target) == before


def test_what_stands_in_the_way_keeps_everything_from_being_copied(run: Run, target: Path) -> None:
    write(target / "fips.key", f"{OTHER.nsec}\n", 0o600)
    status, out, err = run()
    assert (status, out) == (1, "")
    assert err == (
        "error: nothing was copied, because other files stand in the way: "
        f"{target / 'fips.key'}; --replace keeps them aside\n"
    )
    assert list(tree(target)) == ["fips.key"]
    assert run("--dry-run")[0] == 1


def test_replacing_keeps_aside_what_was_there_each_time_under_a_new_name(run: Run, target: Path) -> None:
    for number in range(2):
        write(target / "fips.key", f"key {number}\n", 0o600)
        status, out, _ = run("--replace")
        assert status == 0
    assert "what is there is kept as fips.key.before-migration-2\n" in out
    assert KeyFiles(target).read_key()[0].npub == ME.npub  # type: ignore[index]
    assert (target / "fips.key.before-migration").read_text() == "key 0\n"
    assert (target / "fips.key.before-migration-2").read_text() == "key 1\n"
    assert (target / "fips.key.before-migration").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_target_is_put_aside_and_never_written_through(
    run: Run, source: Path, target: Path, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere", "precious\n")
    target.mkdir()
    (target / "hosts").symlink_to(tmp_path / "elsewhere")
    assert run()[0] == 1
    assert run("--replace")[0] == 0
    assert (tmp_path / "elsewhere").read_text() == "precious\n"
    assert (target / "hosts").read_text() == (source / "hosts").read_text()
    assert not (target / "hosts").is_symlink()


def test_what_a_package_put_there_and_nobody_changed_gives_way(source: Path, target: Path, tmp_path: Path) -> None:
    write(tmp_path / "samples" / "fips.yaml.example", "# sample\n")
    write(target / "fips.yaml", "# sample\n")
    plan = survey(source, target, replace=False, samples=tmp_path / "samples")
    assert (plan.conflicts, plan.steps[-1].action) == ([], Action.REPLACE)
    carry_out(plan)
    assert (target / "fips.yaml").read_text() == CONFIG
    assert not list(target.glob("*before-migration"))


def test_a_key_others_could_read_is_private_in_the_copy(run: Run, source: Path, target: Path) -> None:
    (source / "fips.key").chmod(0o644)
    assert run()[0] == 0
    assert (target / "fips.key").stat().st_mode & 0o777 == 0o600


def test_links_are_followed_and_told_of_and_what_is_no_file_is_left_out(
    run: Run, source: Path, target: Path, tmp_path: Path
) -> None:
    (source / "hosts").rename(tmp_path / "hosts-elsewhere")
    (source / "hosts").symlink_to(tmp_path / "hosts-elsewhere")
    (source / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(source / "pipe")
    status, out, _ = run()
    assert status == 0
    assert (target / "hosts").read_text() == FILES["hosts"][0]
    assert f"note: {source / 'hosts'} is a link to {tmp_path / 'hosts-elsewhere'}; what it leads to is copied\n" in out
    assert f"note: {source / 'gone'} is no file and is left out\n" in out
    assert f"note: {source / 'pipe'} is no file and is left out\n" in out


def test_a_directory_behind_a_link_is_taken_along_and_a_link_back_is_not_followed(
    run: Run, source: Path, target: Path, tmp_path: Path
) -> None:
    (source / "fips.d").rename(tmp_path / "rules")
    (source / "fips.d").symlink_to(tmp_path / "rules")
    (source / "up").symlink_to("..")
    (source / "round").symlink_to(source)
    status, out, _ = run()
    assert status == 0
    assert tree(target)["fips.d/10-ssh.nft"] == tree(tmp_path / "rules")["10-ssh.nft"]
    assert f"note: {source / 'up'} leads back to {tmp_path} and is left out\n" in out
    assert f"note: {source / 'round'} leads back to {source} and is left out\n" in out
    assert {path.name for path in target.iterdir() if path.is_dir()} == {"fips.d"}


def test_directories_arrive_as_they_were_be_they_empty(run: Run, source: Path, target: Path) -> None:
    (source / "empty").mkdir()
    modes = {"empty": 0o2750, "fips.d": 0o1711}
    for name, mode in modes.items():
        (source / name).chmod(mode)
    assert run()[0] == 0
    assert {name: (target / name).stat().st_mode & 0o7777 for name in modes} == modes


def test_a_link_to_half_of_the_machine_is_refused(run: Run, source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    for number in range(1001):
        (tmp_path / "usr" / str(number)).touch()
    (source / "usr").symlink_to(tmp_path / "usr")
    assert run()[2] == f"error: there are more than 1000 files below {source}; is there a link to elsewhere?\n"
    assert not target.exists()


@pytest.mark.parametrize("refused", ["fips.yaml", "fips.d", "hosts"])
def test_what_may_not_be_read_is_said_in_one_line_and_nothing_is_copied(
    run: Run, source: Path, target: Path, refused: str
) -> None:
    write(target / "hosts", "other\n")
    (source / refused).chmod(0)
    with as_an_ordinary_user(source.parent):
        status, out, err = run("--replace")
    assert (status, out) == (1, "")
    assert err == f"error: cannot read {source / refused}: Permission denied; try again with sudo\n"
    assert list(tree(target)) == ["hosts"]


@contextmanager
def as_an_ordinary_user(directory: Path) -> Iterator[None]:
    """Let go of root's rights for a while; everything below `directory` belongs to that user."""
    if os.geteuid() != 0:
        yield
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, ORDINARY_USER, ORDINARY_USER)
    above = [path for path in directory.parents if path.stat().st_uid == 0 and path.stat().st_mode & 0o011 != 0o011]
    modes = [path.stat().st_mode & 0o7777 for path in above]
    for path, mode in zip(above, modes, strict=True):
        path.chmod(mode | 0o011)
    os.seteuid(ORDINARY_USER)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in zip(above, modes, strict=True):
            path.chmod(mode)


def test_a_target_that_cannot_be_is_one_line(source: Path, tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(ToolError, match=rf"^cannot make {tmp_path}/file/etc: Not a directory$"):
        carry_out(survey(source, tmp_path / "file" / "etc", replace=False))


def test_names_that_no_terminal_shows_are_one_line_each(run: Run, source: Path, target: Path) -> None:
    (source / "two\nlines").touch()
    Path(os.fsdecode(bytes(source) + b"/\xff.nft")).touch()
    status, out, _ = run()
    assert status == 0
    assert all(line.isprintable() for line in out.splitlines())
    assert rf"{target}/two\nlines" in out
    assert rf"{target}/\udcff.nft" in out
    assert len(list(target.iterdir())) == len(list(source.iterdir()))


def test_a_key_in_the_configuration_is_the_name(run: Run, source: Path) -> None:
    write(source / "fips.yaml", f"node: {{identity: {{nsec: {OTHER.nsec}}}}}\ntransports: {{udp: {{}}}}\n", 0o600)
    status, out, _ = run()
    assert status == 0
    assert f"the node is {OTHER.npub}\n" in out
    assert "nsec" not in out


def test_a_broken_key_is_said_before_anything_is_copied(run: Run, source: Path, target: Path) -> None:
    write(source / "fips.key", "nsec1rubbish\n", 0o600)
    status, _, err = run()
    assert status == 1
    assert err.startswith("error: the identity cannot be taken over: ")
    assert not target.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("transports: {udp: {}}", "note: node.identity.persistent is not true: as before, the node has a new name"),
        ("transports: [", "  mend the copy: Failed to load configuration from "),
        (
            "node: {rendezvous: {nostr: {enabled: true}}}\ntransports: {udp: {}}",
            "  mend the copy: node.rendezvous.nostr",
        ),
        ("node: {tick_interval_secs: 0}\ntransports: {udp: {}}", "  mend the copy: "),
        ("transports: {udp: {}}\ntun: {enabeld: true}", "note: "),
    ],
)
def test_what_a_node_will_say_of_the_copy_is_said_now(run: Run, source: Path, text: str, says: str) -> None:
    write(source / "fips.yaml", text)
    status, out, _ = run()
    assert status == 0
    assert f"\n{says}" in f"\n{out}"


def test_paths_into_the_old_directory_are_named(run: Run, source: Path) -> None:
    line = f"meshnode: {{access: {{allow_file: {source}/peers.allow}}}}"
    write(source / "fips.yaml", f"{CONFIG}# {source}/in-a-comment\n{line}\n")
    status, out, _ = run()
    assert status == 0
    assert out.count("still names") == 1
    assert f"note: line 8 of the copy still names {source}: {line}\n" in out


def test_the_services_of_the_reference_are_stopped_before_ours_starts(
    source: Path, target: Path, tmp_path: Path
) -> None:
    for unit in ("fips", "fips-firewall"):
        write(tmp_path / "usr/lib/systemd/system" / f"{unit}.service", "")
    write(source / "fips.nft", "table inet fips {}\n")
    write(tmp_path / "etc/systemd/system/fips.service.d/nice.conf", "[Service]\nNice=5\n")
    todo = survey(source, target, replace=False, root=tmp_path).todo
    assert "write `meshnode: { firewall: { enabled: true } }`" in todo[0]
    assert f"look through {tmp_path}/etc/systemd/system/fips.service.d, which counts for fips alone" in todo[1]
    assert todo[1].endswith(f" {tmp_path}/etc/systemd/system/meshnode.service.d")
    assert todo[2:] == ["systemctl disable --now fips fips-firewall", "systemctl enable --now meshnode"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--from", "/nowhere/at/all"], "there is no /nowhere/at/all/fips.yaml; name the directory that holds it with"),
        (["--to", "SOURCE"], "is both source and target; name another directory with --to"),
        (["--to", "SOURCE/below"], "/below lies in "),
    ],
)
def test_directories_that_make_no_sense_are_refused(run: Run, source: Path, options: list[str], says: str) -> None:
    status, out, err = run(*[option.replace("SOURCE", str(source)) for option in options])
    assert (status, out) == (1, "")
    assert says in err


def test_a_copy_that_fails_names_the_file_leaves_no_draft_and_can_be_gone_on_with(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(draft: Path, path: Path) -> None:
        if Path(path).name == "peers.allow":
            raise OSError(28, "No space left on device")
        real(draft, path)

    monkeypatch.setattr(migration.os, "replace", full)
    with pytest.raises(ToolError, match=r"cannot copy \S+/peers.allow to \S+/peers.allow: No space left on device$"):
        carry_out(survey(source, target, replace=False))
    assert not (target / "fips.yaml").exists()
    assert not list(target.glob(".*"))
    monkeypatch.undo()
    carry_out(survey(source, target, replace=False))
    assert tree(target) == tree(source)


def test_programs_are_told_the_same(run: Run, target: Path) -> None:
    facts = json.loads(run("--json")[1])
    assert (facts["npub"], facts["done"]) == (ME.npub, True)
    assert {row["action"] for row in facts["files"]} == {"copy"}
    assert facts["files"][-1]["target"] == str(target / "fips.yaml")
