"""What is done to the system, and what must hold: `python -m tests.faults`."""
