"""The last released code and this code on the same data."""
