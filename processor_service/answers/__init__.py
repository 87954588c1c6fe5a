"""Answering questions from passages, and holding answers to them."""
