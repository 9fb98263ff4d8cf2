"""The pipeline from raw voxels to a label map as a TensorFlow graph, and what a server is given beside it.

What is here repeats, operation by operation, what `kseg.predict` computes in NumPy (docstrings say which function it is
the graph of): a SavedModel cannot call Python. Loops go one step at a time, so that memory is that of one step.
"""
