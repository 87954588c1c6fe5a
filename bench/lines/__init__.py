"""The lines of the table: a module each, with `async def measure(bed: Bed) -> list[Row]`."""
