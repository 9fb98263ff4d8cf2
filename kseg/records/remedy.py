"""What helps where a prepared dataset cannot be used, as errors say it."""

PREPARE_AGAIN = "prepare the dataset again"
