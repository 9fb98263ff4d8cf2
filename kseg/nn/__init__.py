"""The mathematics: dilated convolutions with a shared kernel, losses, metrics, networks; all on `keras.ops`."""
