"""Settings of a recipe that sweeps and reports treat alike."""

WITHOUT_EFFECT = (
    *("trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar"),
    *("trainer.log_every_n_steps", "trainer.profiler", "data.workers", "model.features"),
)
"""Settings that change no result.

Runs that differ only in these settings are one trial of a sweep and one line of a report. The
number of devices is not among them: where it does not divide the batch, batch and learning rate
grow.
"""
