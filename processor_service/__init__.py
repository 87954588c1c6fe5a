"""Reads materials page by page through the AI Brain, indexes them, and finds what is in them."""
