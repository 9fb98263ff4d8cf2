"""Training: devices, the learning rate within its budget of steps and time, the run folder and its checkpoints."""
