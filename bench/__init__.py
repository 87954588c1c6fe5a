"""How fast the system is, beside the least code that does the same work and beside what people use today: `make bench`."""
