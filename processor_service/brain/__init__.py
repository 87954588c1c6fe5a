"""The AI Brain as the pipeline uses it: the client, what may go wrong with it, and who may call it when."""
