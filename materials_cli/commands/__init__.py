"""The commands: each takes what the command line says, and hands the work to the modules above."""
