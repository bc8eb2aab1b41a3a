//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"testing"
)

// TestForeignSocket: a link that leads to a folder which others can write to, and
// so to a socket that may be anybody's, is not followed.
func TestForeignSocket(t *testing.T) {
	dir := t.TempDir()
	other, err := os.MkdirTemp("", "p") // a path that is short enough
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(other)
	l, err := net.Listen("unix", filepath.Join(other, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink(filepath.Join(other, socketName), filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	try := func() error {
		r, err := dialDaemon(t.Context(), dir)
		if err == nil {
			r.Close()
		}
		return err
	}
	if err := try(); err != nil {
		t.Fatalf("a private folder: %v", err)
	}
	if err := os.Chmod(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := try(); !errors.Is(err, errForeignSocket) {
		t.Errorf("a folder that is open to all: %v", err)
	}
	if os.Getuid() == 0 { // who alone can give a folder away
		if err := errors.Join(os.Chmod(other, 0o700), os.Chown(other, 12345, -1)); err != nil {
			t.Fatal(err)
		}
		if err := try(); !errors.Is(err, errForeignSocket) {
			t.Errorf("somebody else's folder: %v", err)
		}
	}
	// The next daemon takes the link's place, and leaves the folder alone.
	if err := removeSocket(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); err == nil {
		t.Error("the link is left")
	}
	if _, err := os.Lstat(filepath.Join(other, socketName)); err != nil {
		t.Error(err)
	}
}

// TestPrivateFromTheStart: there is no moment at which others could open a file
// or the socket, in whatever folder they are.
func TestPrivateFromTheStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the mask of another process is seen on Linux only")
	}
	alice := newWorld(t).join("alice.eth")
	alice.start()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(alice.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if mask := regexp.MustCompile(`(?m)^Umask:\s+0077$`); !mask.Match(status) {
		t.Errorf("the daemon's umask is not 0077:\n%s", status)
	}
}
