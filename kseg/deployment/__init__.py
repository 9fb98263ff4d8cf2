"""What leaves the program: a trained run as a SavedModel, an ONNX model, or an engine of TensorRT."""
