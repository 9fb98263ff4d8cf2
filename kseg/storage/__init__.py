"""Files and locations: written whole, checked, listed, and deleted only where kseg made them."""
