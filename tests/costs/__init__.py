"""What one upload, page, watcher, search or idle second costs in round trips: counted on the wire, so that a regression shows as a number."""
