"""What leaves the program: a trained run as a SavedModel, an ONNX model, or a TensorRT engine."""
