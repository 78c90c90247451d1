"""The detector of a run on its way to the Hub: what is uploaded, the card, the repository."""

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
"""The files of a detector; others in the folder stay here, others in the repository stay there."""


def push_run(run: Path, repository: str, private: bool = False, dry_run: bool = False) -> None:
    """Upload the detector of a finished run and its card, which is written beside it first.

    A run that trained an adapter gives the whole detector with the adapter merged into it. A card that somebody has
    changed is kept.

    Raises:
        GLIPError: the repository is no OWNER/NAME (``bad-repository``), the run is not finished (``unfinished-run``)
            or left no detector (``no-detector``), its result cannot be read (``damaged-record``), nobody is logged in
            (``not-logged-in``), the repository is public (``public-repository``), the Hub does not take the files
            (``upload-failed``).
    """
    _check_name(repository)
    result = _finished(run)
    trained = next(
        (run / part for part in (RUN_ADAPTER, RUN_DETECTOR) if (run / part).is_dir()), None
    )
    if trained is None:
        message = f"{run}: this run left no detector that could be uploaded; FullTuning leaves one, and LoRATuning, "
        message += "LinearProbe and PartialTuning an adapter of which one is made"
        raise GLIPError(message, code="no-detector")
    if not dry_run and get_token() is None:
        raise GLIPError(
            "not logged in to the Hub: run hf auth login, or set HF_TOKEN; --dry-run needs neither",
            code="not-logged-in",
        )
    card = _write_card(trained / CARD_NAME, result, repository)
    with _whole(run, trained) as folder:
        files = [folder / name for name in UPLOADED if (folder / name).is_file()]
        for file in files:
            print(f"file     {file.name} ({file.stat().st_size / 1e6:.2f} MB)")
        total = sum(file.stat().st_size for file in files) / 1e6
        where = f"{constants.ENDPOINT}/{repository}"
        print(
            f"{'would go' if dry_run else 'goes'} to {where}{' (private)' if private else ''}: {total:.2f} MB"
        )
        if not dry_run:
            print(f"uploaded {_upload(folder, repository, private)}")
            print(f"next     glip predict PHOTO --detector {repository}")
    if "write them here" in card:
        print(
            f"licence  the card names none for the data: write it into {printable(str(trained / CARD_NAME))}"
        )


def _check_name(repository: str) -> None:
    """Raise WrongUsage for what cannot be a repository of an owner."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        said = str(error).split("\n")[0]
        raise WrongUsage(
            f"{repository}: no name of a repository: {said}", code="bad-repository"
        ) from None
    if "/" not in repository:
        message = f"{repository}: expected OWNER/NAME, as in your-name/{repository}"
        raise WrongUsage(message, code="bad-repository")


def _finished(run: Path) -> Mapping[str, Any]:
    """Return the result of a finished run."""
    if not (run / RESULT_NAME).is_file():
        message = (
            f"{run}: no finished run, {RESULT_NAME} is missing; finish it: glip fit --resume {run}"
        )
        raise GLIPError(message, code="unfinished-run")
    return read_result(run)


def _write_card(file: Path, result: Mapping[str, Any], repository: str) -> str:
    """Write the card for the repository and return it; one that somebody has changed keeps his text."""
    try:
        there = file.read_text(encoding="utf-8") if file.is_file() else ""
        kept = for_repository(there, result, repository) if there else None
        card = kept or model_card(repository.split("/")[1], result, repository)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        message = f"{file.parent.parent / RESULT_NAME}: a card cannot be made of it: {said}"
        raise GLIPError(message, code="damaged-record") from error
    write_text(file, card)
    print(f"card     {printable(str(file))}{' (with your changes)' if kept else ''}")
    return card


@contextmanager
def _whole(run: Path, trained: Path) -> Iterator[Path]:
    """Yield the exchange folder of a run; of an adapter, one is made for a while."""
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
        public = private and not api.model_info(repository).private
        if not public:
            # what a detector of another kind left there under these names would be read with the new one
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=list(UPLOADED),
                delete_patterns=list(UPLOADED),
                commit_message="Detector of glip-lightning",
            )
            return commit.commit_url
    except (
        Exception
    ) as error:  # the Hub client lets the errors of its transport through, a class of their own
        said = " ".join(str(error).split())
        message = f"{repository}: the Hub at {constants.ENDPOINT} did not take the detector: {said}"
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status == 401:
            raise GLIPError(
                f"{message}. Is the token right? hf auth login", code="not-logged-in"
            ) from error
        raise GLIPError(message, code="upload-failed") from error
    message = f"{repository}: is there already and public, so nothing was uploaded; make it private on its page, "
    raise GLIPError(
        message + "choose another name or leave out --private", code="public-repository"
    )
