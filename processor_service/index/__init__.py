"""Pages and passages: how pages are cut, embedded and kept, in generations of the index."""
