"""The record of every material: its state machine, its history, and everybody's view of it."""
