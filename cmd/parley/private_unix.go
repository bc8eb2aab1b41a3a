//go:build unix

package main

import (
	"io/fs"
	"syscall"
)

// makePrivate makes every file and socket that this process creates its owner's
// alone, from the moment it is there.
func makePrivate() { syscall.Umask(0o077) }

// sameOwner reports whether two files are the same user's.
func sameOwner(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return ok && also && x.Uid == y.Uid
}
