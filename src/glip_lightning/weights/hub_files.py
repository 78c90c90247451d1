"""Files on the Hugging Face Hub: where official weights are, how a file gets into the cache."""

import errno
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from socket import gaierror

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import RemoteEntryNotFoundError

from glip_lightning.common import registry
from glip_lightning.common.errors import GLIPError
from glip_lightning.text.tokenizer import VOCAB_NAME

PAUSE = 1.0  # seconds before a server that could not be reached is tried a second and last time


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file on the Hub; ``licence`` is shown before it is downloaded."""

    repo: str
    name: str
    licence: str = "licence: see the repository"


_MIT = "MIT licence, as stated by microsoft/GLIP"
OFFICIAL = {
    "glip-tiny-a": HubFile("GLIPModel/GLIP", "glip_a_tiny_o365.pth", _MIT),
    "glip-tiny-b": HubFile("GLIPModel/GLIP", "glip_tiny_model_o365.pth", _MIT),
    "glip-tiny-c": HubFile("GLIPModel/GLIP", "glip_tiny_model_o365_goldg.pth", _MIT),
    "glip-tiny": HubFile("GLIPModel/GLIP", "glip_tiny_model_o365_goldg_cc_sbu.pth", _MIT),
    "glip-large": HubFile("GLIPModel/GLIP", "glip_large_model.pth", _MIT),
}
OFFICIAL_VOCAB = HubFile("google-bert/bert-base-uncased", VOCAB_NAME, "Apache-2.0 licence")


class DownloadError(GLIPError, OSError):
    """A file is not in the Hub cache and could not be downloaded."""

    def __init__(self, message: str, *, code: str = "download-failed") -> None:
        super().__init__(message, code=code)


class NotInRepository(DownloadError):
    """The repository exists, the file in it does not."""


def is_cached(file: HubFile) -> bool:
    """Return whether ``file`` is on this machine already."""
    return isinstance(try_to_load_from_cache(file.repo, file.name), str)


def hub_file(file: HubFile) -> Path:
    """Return the path of ``file`` in the Hub cache; a download is announced first.

    A slow connection or a busy server is tried again, and a download that broke off goes on.
    Where no connection can be made at all, the error comes after two tries.

    Raises:
        NotInRepository: the repository exists, the file in it does not.
        DownloadError: the file is not in the cache and could not be downloaded
            (both: code ``download-failed``).
    """
    cached = try_to_load_from_cache(file.repo, file.name)
    if isinstance(cached, str):
        return Path(cached)
    try:
        _require_connection(hf_hub_url(file.repo, file.name))
        found = hf_hub_download(file.repo, file.name, dry_run=True)
        size = f"{found.file_size / 1e6:.1f} MB" if found.file_size else "size unknown"
        print(f"downloading {file.name} from {file.repo} ({size}; {file.licence})", file=sys.stderr)
        return Path(hf_hub_download(file.repo, file.name))
    except Exception as error:  # the Hub client also raises the errors of its transport
        # anything but a path or None: the cache knows that the repository has no such file
        if cached is not None or isinstance(error, RemoteEntryNotFoundError):
            raise NotInRepository(_download_message(file, error)) from error
        raise DownloadError(_download_message(file, error)) from error


def _require_connection(url: str) -> None:
    """Raise the Hub client's error if no connection can be made to the server of ``url``.

    The client itself tries six times, in 23 seconds. All other faults are left to it.
    """
    try:
        get_hf_file_metadata(url)
        return
    except Exception as error:
        if not _is_no_connection(error):
            return
    time.sleep(PAUSE)
    try:
        get_hf_file_metadata(url)
    except Exception as error:
        if _is_no_connection(error):
            raise


def _is_no_connection(error: BaseException | None) -> bool:
    """Return whether a name was not resolved, or a connection was refused or has no route."""
    unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
    while error is not None:
        if isinstance(error, gaierror | ConnectionRefusedError):
            return True
        if isinstance(error, OSError) and error.errno in unreachable:
            return True
        error = error.__cause__ or error.__context__
    return False


def _download_message(file: HubFile, error: Exception) -> str:
    """Return why ``file`` is missing and what works without a download."""
    reason = " ".join(str(error).split()).rstrip(".")
    if constants.is_offline_mode():
        reason = "offline mode is on (HF_HUB_OFFLINE)"
    elif _is_no_connection(error):
        reason = f"no connection to {constants.ENDPOINT} ({reason})"
    url = hf_hub_url(file.repo, file.name)
    shipped = [name for name in registry.detector_weights.names() if name not in OFFICIAL]
    message = (
        f"{file.name} of {file.repo} is not in the Hub cache ({constants.HF_HUB_CACHE}) and was "
        f"not downloaded: {reason}. A local copy works the same: get {url} another way, put it "
        f"beside the other files of the detector ({VOCAB_NAME} next to an official .pth file, or "
        "an exchange folder) and give the path of that .pth file or folder as the detector"
    )
    if shipped:
        message += f". These detectors need no download: {', '.join(shipped)}"
    return message
