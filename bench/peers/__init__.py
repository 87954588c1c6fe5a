"""What people use today for the same work, each set up as its own documentation advises."""
