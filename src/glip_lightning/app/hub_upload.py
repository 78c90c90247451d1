"""Upload of a run's detector to the Hub: its files, its model card, the repository."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from glip_lightning.common.errors import GLIPError
from glip_lightning.common.escaping import printable
from glip_lightning.common.files import write_text
from glip_lightning.config.wrong_usage import WrongUsage
from glip_lightning.training.model_card import CARD_NAME, for_repository, model_card
from glip_lightning.weights.detector_files import EXCHANGE, TASK_NAME, WORDS_NAME
from glip_lightning.weights.run_files import RESULT_NAME, RUN_ADAPTER, RUN_DETECTOR, read_result

UPLOADED = (*EXCHANGE, TASK_NAME, WORDS_NAME, CARD_NAME)
"""The files of a detector. Other files in the folder and in the repository stay as they are."""


def push_run(run: Path, repository: str, private: bool = False, dry_run: bool = False) -> None:
    """Write the model card of a finished run beside its detector, and upload both.

    Of a run that trained an adapter, the whole detector with the adapter merged into it is
    uploaded. A card that somebody has changed is kept.

    Raises:
        GLIPError: the repository is no OWNER/NAME (``bad-repository``), the run is not finished
            (``unfinished-run``) or left no detector (``no-detector``), its result is damaged
            (``damaged-record``, or see :func:`~.run_files.read_result`), nobody is logged in
            (``not-logged-in``), the repository is public (``public-repository``), the Hub does not
            take the files (``upload-failed``).
    """
    _check_name(repository)
    result = _read_finished(run)
    folders = [run / part for part in (RUN_ADAPTER, RUN_DETECTOR) if (run / part).is_dir()]
    if not folders:
        message = (
            f"{run}: this run left no detector that could be uploaded; FullTuning leaves one, "
        )
        message += "LoRATuning, LinearProbe and PartialTuning leave an adapter of which one is made"
        raise GLIPError(message, code="no-detector")
    trained = folders[0]
    if not dry_run and get_token() is None:
        raise GLIPError(
            "not logged in to the Hub: run hf auth login, or set HF_TOKEN; --dry-run needs neither",
            code="not-logged-in",
        )
    card = _write_card(trained / CARD_NAME, result, repository)
    with _exchange_folder(run, trained) as folder:
        _print_files(folder, repository, private, dry_run)
        if not dry_run:
            print(f"uploaded {_upload(folder, repository, private)}")
            print(f"next     glip predict PHOTO --detector {repository}")
    if "write them here" in card:
        place = printable(str(trained / CARD_NAME))
        print(f"licence  the card names none for the data: write it into {place}")


def _print_files(folder: Path, repository: str, private: bool, dry_run: bool) -> None:
    """Print the files that are uploaded, with their sizes, and where they go."""
    total = 0.0
    for file in [folder / name for name in UPLOADED if (folder / name).is_file()]:
        megabytes = file.stat().st_size / 1e6
        total += megabytes
        print(f"file     {file.name} ({megabytes:.2f} MB)")
    verb = "would go" if dry_run else "goes"
    kind = " (private)" if private else ""
    print(f"{verb} to {constants.ENDPOINT}/{repository}{kind}: {total:.2f} MB")


def _check_name(repository: str) -> None:
    """Raise WrongUsage for a text that is not OWNER/NAME."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        reason = str(error).split("\n")[0]
        raise WrongUsage(
            f"{repository}: no name of a repository: {reason}", code="bad-repository"
        ) from None
    if "/" not in repository:
        message = f"{repository}: expected OWNER/NAME, as in your-name/{repository}"
        raise WrongUsage(message, code="bad-repository")


def _read_finished(run: Path) -> Mapping[str, Any]:
    """Return the result of a finished run."""
    if not (run / RESULT_NAME).is_file():
        message = f"{run}: no finished run, {RESULT_NAME} is missing; "
        message += f"finish it: glip fit --resume {run}"
        raise GLIPError(message, code="unfinished-run")
    return read_result(run)


def _write_card(file: Path, result: Mapping[str, Any], repository: str) -> str:
    """Write the card for the repository and return it; a card that somebody has changed is kept."""
    changed = None
    try:
        if file.is_file():
            changed = for_repository(file.read_text(encoding="utf-8"), result, repository)
        card = changed or model_card(repository.split("/")[1], result, repository)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{file.parent.parent / RESULT_NAME}: no card can be made of it: "
        message += f"{type(error).__name__}: {error}"
        raise GLIPError(message, code="damaged-record") from error
    write_text(file, card)
    note = " (with your changes)" if changed else ""
    print(f"card     {printable(str(file))}{note}")
    return card


@contextmanager
def _exchange_folder(run: Path, trained: Path) -> Iterator[Path]:
    """Yield the exchange folder of a run; of an adapter, one is made and removed afterwards."""
    if trained.name == RUN_DETECTOR:
        yield trained
        return
    from glip_lightning.weights.conversion import convert_weights

    with TemporaryDirectory(dir=run, prefix=".push-") as place:
        folder = convert_weights(run, Path(place) / RUN_DETECTOR)
        write_text(folder / CARD_NAME, (trained / CARD_NAME).read_text(encoding="utf-8"))
        yield folder


def _upload(folder: Path, repository: str, private: bool) -> str:
    """Upload the files of a detector in one commit and return its address."""
    api = HfApi()
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        if not private or api.model_info(repository).private:
            # files of another detector under these names would be read together with the new ones
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=list(UPLOADED),
                delete_patterns=list(UPLOADED),
                commit_message="Detector of glip-lightning",
            )
            return commit.commit_url
    except Exception as error:  # errors of the transport have classes of their own
        reason = " ".join(str(error).split())
        message = (
            f"{repository}: the Hub at {constants.ENDPOINT} did not take the detector: {reason}"
        )
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
            message += ". Is the token right? hf auth login"
            raise GLIPError(message, code="not-logged-in") from error
        raise GLIPError(message, code="upload-failed") from error
    message = f"{repository}: exists already and is public, so nothing was uploaded; "
    message += "make it private on its page, choose another name or leave out --private"
    raise GLIPError(message, code="public-repository")
