"""Training: workers, the learning rate within a budget of steps and time, checkpoints, stopping and resuming."""
