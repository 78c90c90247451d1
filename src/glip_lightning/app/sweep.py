"""``glip sweep``: run a recipe over tasks, shots, seeds, tunings or any of its keys."""

from typing import Annotated, Literal

import typer

from glip_lightning.common.files import refuse_pipes
from glip_lightning.common.signals import blocked


def sweep(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The sweep, or the name of one: sweeps/demo.")
    ],
    dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Where its trials are (default: runs/<name of the sweep>)."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the trials, their steps and time, and run nothing."),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="POINTS", help="A part of it: shots=1,shots=10 or tuning=full."),
    ] = None,
    executor: Annotated[
        Literal["local", "ray", "submitit"], typer.Option(help="What runs the trials.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Trials at once (default: one per GPU, else per two CPU cores)."
        ),
    ] = None,
    trials_per_gpu: Annotated[int, typer.Option(metavar="M", help="Trials that share a GPU.")] = 1,
    slurm: Annotated[
        str,
        typer.Option(
            metavar="K=V,...",
            help="For submitit: partition=gpu,timeout_min=240.",
            show_default=False,
        ),
    ] = "",
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Also those of finished trials.")
    ] = False,
) -> int:
    """Run a recipe over tasks, shots, seeds, tunings or any of its keys.

    Called again, it goes on where it stopped. Options of recipes, like --data.root DATA, hold for
    all trials.
    """
    from glip_lightning.config.early_checks import check_sweep
    from glip_lightning.config.overrides import overrides_of
    from glip_lightning.experiments.sweep.grid import read_grid, sweep_file

    refuse_pipes(context.args)
    grid = read_grid(sweep_file(file))  # faults of the file are found before torch is imported
    overrides = overrides_of(context.args)
    for regime in grid.regimes.values():
        check_sweep(regime.file, regime.content, overrides, grid.axis_of)
    with blocked():
        from glip_lightning.experiments.sweep.run_sweep import SweepOptions, run_sweep

    options = SweepOptions(
        dir, executor, workers, trials_per_gpu, only, slurm, dry_run, keep_checkpoints
    )
    return run_sweep(file, options, overrides)
