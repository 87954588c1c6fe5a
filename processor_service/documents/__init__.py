"""Uploaded documents as pages: opened, laid out and drawn in a child process that may die."""
