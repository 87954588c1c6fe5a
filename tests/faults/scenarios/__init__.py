"""One module for each kind of fault. The catalogue imports them all."""
