"""Files on the Hugging Face Hub: where the official weights are, and how a file comes into the Hub's cache."""

import sys
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError

from glip_lightning.common.errors import GLIPError
from glip_lightning.text.tokenizer import VOCAB_NAME


class HubFile(NamedTuple):
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
    """A file that is neither in the Hub cache nor to be had from the Hub."""

    def __init__(self, message: str, *, code: str = "download-failed") -> None:
        super().__init__(message, code=code)


class NotInRepository(DownloadError):
    """The repository exists, the file in it does not."""


def is_cached(file: HubFile) -> bool:
    """Whether ``file`` is on this machine already."""
    return isinstance(try_to_load_from_cache(file.repo, file.name), str)


def hub_file(file: HubFile) -> Path:
    """Path of ``file`` in the Hub cache. A cached file costs no request; a download is announced first."""
    cached = try_to_load_from_cache(file.repo, file.name)
    if isinstance(cached, str):
        return Path(cached)
    try:
        found = hf_hub_download(file.repo, file.name, dry_run=True)
        size = f"{found.file_size / 1e6:.1f} MB" if found.file_size else "size unknown"
        print(f"downloading {file.name} from {file.repo} ({size}; {file.licence})", file=sys.stderr)
        return Path(hf_hub_download(file.repo, file.name))
    except (
        Exception
    ) as error:  # the Hub client lets the errors of its transport through, a class of their own
        # anything but a path or None: the cache knows that the repository has no such file
        absent = cached is not None or isinstance(error, RemoteEntryNotFoundError)
        raise (NotInRepository if absent else DownloadError)(_cannot_have(file, error)) from error


def _cannot_have(file: HubFile, error: Exception) -> str:
    reason = (
        "offline mode is on (HF_HUB_OFFLINE)"
        if constants.is_offline_mode()
        else " ".join(str(error).split())
    )
    url = hf_hub_url(file.repo, file.name)
    return (
        f"{file.name} of {file.repo} is not in the Hub cache ({constants.HF_HUB_CACHE}) and was not downloaded: "
        f"{reason.rstrip('.')}. A local copy works the same: get {url} another way, put it beside the other files "
        f"of the detector ({VOCAB_NAME} next to an official .pth file, or an exchange folder) and give the path of "
        "that .pth file or folder as the detector"
    )
