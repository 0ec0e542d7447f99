"""Photos, named filters, and changing the size of images without weights."""
