"""Prepared scans on disk: splits, the TFRecord schema, shards and their manifest."""
