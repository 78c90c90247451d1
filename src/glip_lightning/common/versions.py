"""The versions of packages that a run and a bug report name."""

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
    """Return the version of each package that matters; "not installed" stands for a missing one."""
    # of the code, not of the installation: a checkout may be installed under an earlier version
    found = {"glip-lightning": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
