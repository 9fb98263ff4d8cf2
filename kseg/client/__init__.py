"""Models behind TF Serving: what they take, asked by gRPC or REST, and what is said when they do not answer."""
