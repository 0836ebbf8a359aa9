"""Systems under test that are programs of their own, in any language, on this machine or behind a port."""
