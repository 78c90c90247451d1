"""Runs in Lightning: module, data modules, schedules, callbacks, loggers, results."""
