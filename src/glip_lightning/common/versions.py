"""Which versions a run or a bug report speaks of."""

from importlib.metadata import PackageNotFoundError, version

from glip_lightning import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "timm",
    "torchmetrics",
    "faster-coco-eval",
    "datasets",
    "wandb",
    "huggingface-hub",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str]:
    """Installed version of every package that matters, "not installed" where there is none."""
    ours = {
        "glip-lightning": __version__
    }  # of the code: a checkout may be installed under an earlier one
    return ours | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
