package main

import (
	"context"
)

// stayUp leaves the world up until the context ends.
func (w *world) stayUp(ctx context.Context, out *printer) {}
