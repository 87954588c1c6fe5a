"""A discrete-event model of the pipeline, fed with measured service times, and what follows from it for ten million materials a day."""
