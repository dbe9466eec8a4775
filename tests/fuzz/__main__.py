"""Fuzz from the command line: `python -m tests.fuzz [TARGET...] --seconds N`.

With `--atheris`, and atheris installed, coverage guides what is tried (one target at a time); otherwise inputs are
mutations of the corpus. What fails is written to a file, and a line tells how to try it again.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.fuzz.mutation import CORPUS, LONGEST, Mutator, seeds

if "--atheris" in sys.argv:
    import atheris  # our own modules must be imported under its eyes

    with atheris.instrument_imports(include=["meshnode"]):
        from tests.fuzz.targets import TARGETS
else:
    from tests.fuzz.targets import TARGETS


def run(name: str, seconds: float, seed: int, directory: Path) -> tuple[int, int]:
    """Try a target for so long; how many inputs were tried, and how many different failures they found."""
    mutator, end = Mutator(seeds(name), Random(f"{name}/{seed}")), time.monotonic() + seconds
    tried, found = 0, set()
    while time.monotonic() < end:
        data = mutator.next()
        tried += 1
        try:
            TARGETS[name](data)
        except BaseException as error:  # whatever it is, it is what we look for
            if isinstance(error, KeyboardInterrupt):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            if (place.filename, place.lineno) not in found:
                found.add((place.filename, place.lineno))
                print(
                    f"{name}: {type(error).__name__}: {error}\n  again with: {keep(name, data, directory)}", flush=True
                )
    return tried, len(found)


def keep(name: str, data: bytes, directory: Path) -> str:
    """Write a failing input down; returns the command that tries it again."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}-{sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    return f"python -m tests.fuzz {name} --input {file}"


def guided(name: str, seconds: float) -> None:
    """Hand a target to atheris, which ends the process itself."""
    found = Path("fuzz-failures") / f"{name}-corpus"  # what is new comes here; the first directory is written to
    found.mkdir(parents=True, exist_ok=True)
    arguments = [f"-max_total_time={int(seconds)}", f"-max_len={LONGEST}", str(found), str(CORPUS / name)]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="default: all of them")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input", type=Path, help="try this one input and no other")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where failing inputs go")
    parser.add_argument("--atheris", action="store_true", help="let coverage guide; needs pip install atheris")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if options.input is not None:
        TARGETS[names[0]](options.input.read_bytes())
        return 0
    if options.atheris:
        guided(names[0], options.seconds)
    failures = 0
    for name in names:
        tried, found = run(name, options.seconds, options.seed, options.failures)
        failures += found
        print(f"{name:16} {tried:9} inputs  {found} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
