"""Straight lines: the least code that does the same work in one process, with the same durability. The floor under the product's figures."""
