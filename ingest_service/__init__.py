"""Bytes in and out: receives files, keeps them, announces them, hands them out."""
