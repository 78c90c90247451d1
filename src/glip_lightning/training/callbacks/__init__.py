"""What happens beside the steps of a run: checkpoints, averages, estimates, the run's folder."""
