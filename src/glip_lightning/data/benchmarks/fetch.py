"""Download of one file over HTTP.

It goes on after a break or a kill, and the file is verified before it has its name. Requests, their
retries and the progress bar are huggingface_hub's. Its ``hf_hub_download`` writes to another name
in each process and begins anew after a kill, so the part that has arrived is kept here.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub.file_download import http_get

from glip_lightning.common.errors import GLIPError

UNCHANGED = {"Accept-Encoding": "identity"}
"""Header against packed answers: they have another size, and cannot be continued."""


def fetch(
    url: str, target: Path, size: int, sha256: str | None, headers: Mapping[str, str] | None = None
) -> str:
    """Write the file at ``url`` to ``target`` and return its SHA-256.

    A part of a file with the same digest, which an earlier call or a killed process has left, is
    continued.

    Args:
        url: address of the file; redirections are followed, to other hosts without a token.
        target: its path. Until it is complete, it is ``<target>.<digest>.part``.
        size: bytes of the whole file.
        sha256: 64 hexadecimal digits. None: the digest is not known, and no part is continued.
        headers: of the request, such as those with a token.

    Raises:
        GLIPError: the server does not answer, refuses, or breaks off too often (code
            ``download-failed``; what has arrived stays), or another file arrived (code
            ``wrong-digest``; it is removed).
    """
    part = target.with_name(f"{target.name}.{(sha256 or 'unknown')[:16]}.part")
    if part.exists() and (sha256 is None or part.stat().st_size > size):
        part.unlink()
    all_headers = {**UNCHANGED, **(headers or {})}
    try:
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=all_headers,
                expected_size=size,
                displayed_filename=target.name,
            )
    except Exception as error:  # the errors of the client's transport have classes of their own
        kept = part.stat().st_size if part.exists() else 0
        message = f"{url}: {reason(error)}; {kept} of {size} bytes have arrived"
        raise GLIPError(f"{message}: the same command goes on", code="download-failed") from error
    found = digest(part)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise GLIPError(
            f"{url}: what arrived has the SHA-256 {found} and not {sha256}: removed; run the same "
            "command again, and if that does not help look at the address in a browser: a proxy or "
            "a log-in may stand in between",
            code="wrong-digest",
        )
    part.replace(target)
    return found


def digest(file: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """Return what a client's error says, in one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
