"""One run in Lightning: the module, the data modules, schedules, callbacks, loggers and the result."""
