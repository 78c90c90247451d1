"""Many runs: sweeps that start them, and reports about them."""
