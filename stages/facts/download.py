"""Files from a disk or a URL, checked by their sha256. Nothing touches the network unless a URL is given."""

import hashlib
import http.client
import os
import urllib.request
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from weightgraft.errors import UserError
from weightgraft.progress import bar

SCHEMES = ("http", "https", "file")
CHUNK = 1 << 20  # bytes


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(name: str, expected: str | None, found: str) -> None:
    """Raise UserError where a sha256 is expected and another is found."""
    if expected is not None and expected.lower() != found:
        raise UserError(
            f"{name}: its sha256 is not the one given: expected {expected.lower()}, found {found}"
        )


def download(url: str, part: Path, timeout: float) -> None:
    """Write what a URL holds into `part`, with a progress bar.

    timeout: seconds without any byte.

    Raises:
        UserError: HTTP error, no network, or fewer bytes than announced; names the URL.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, part.open("wb") as file:
            announced = answer.headers.get("Content-Length")
            size = int(announced) if announced else None
            with bar(part.stem, size, "bytes", scaled=True) as shown:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    shown.update(len(chunk))
            received = file.tell()
    except HTTPError as error:
        raise UserError(f"{url}: HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        raise UserError(f"{url}: cannot be read: {getattr(error, 'reason', '') or error!r}") from error
    if size is not None and received != size:
        raise UserError(f"{url}: {received:,} of {size:,} bytes came; try again")


def obtain(source: str, sha256: str | None, target: Path, timeout: float) -> tuple[Path, str]:
    """A file and its sha256: a local `source` as it is, a URL downloaded to `target`.

    A URL is not read again where `target` has the sha256 given. `target` is there whole or not at all.

    Raises:
        UserError: no such file, another sha256 (expected and found are named), or the download failed.
    """
    if "://" not in source:
        if not Path(source).is_file():
            raise UserError(f"{source}: no such file")
        found = digest_of(Path(source))
        check_digest(source, sha256, found)
        return Path(source), found
    if (scheme := urlsplit(source).scheme) not in SCHEMES:
        raise UserError(f"{source}: {scheme!r} cannot be read; valid: {', '.join(SCHEMES)}, or a local file")
    if sha256 is not None and target.is_file() and digest_of(target) == sha256.lower():
        return target, sha256.lower()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        download(source, part, timeout)
        found = digest_of(part)
        check_digest(source, sha256, found)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target, found
