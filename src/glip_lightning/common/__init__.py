"""What every layer may use: errors, files, logs, versions."""
