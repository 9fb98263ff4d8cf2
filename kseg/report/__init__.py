"""Reports that open in a browser, from disk and without a network: everything is inside one file."""
