"""Pictures. Each function returns a Figure; none is shown, and none is kept open."""
