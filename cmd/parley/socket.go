package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/rpc"

	"github.com/parley-im/parley"
)

// Limits of the daemon's socket.
const (
	maxConns     = 64      // connections at a time
	maxRequest   = 8 << 20 // bytes of one message of JSON: content of 1 MiB, escaped at its worst
	maxBatch     = 100     // requests in one batch
	maxBatchSize = 25 << 20
	acceptAgain  = 50 * time.Millisecond // after a failure to accept
)

// socketName is the daemon's socket in the profile's folder.
const socketName = "parley.sock"

// maxSocketPath is the longest path a socket can be bound to, in bytes: 104 with
// the final zero on some systems, 108 on others.
const maxSocketPath = 103

// findSocket returns the path at which a profile's daemon listens. Where the
// folder's own path is too long for a socket, parley.sock is a symbolic link to
// one in a private temporary folder. Where that has been cleared away, somebody
// else could make one of the same name and be taken for the daemon: ours has one
// owner, as the profile has.
func findSocket(dir string) (string, error) {
	path := filepath.Join(dir, socketName)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return path, nil
	}
	if path, err = os.Readlink(path); err != nil {
		return "", err
	}
	folder, err := os.Lstat(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	if !folder.IsDir() || folder.Mode().Perm()&0o077 != 0 || !sameOwner(folder, info) {
		return "", errForeignSocket
	}
	return path, nil
}

// removeSocket removes what a daemon has left behind. Only who holds the
// profile's lock may call it: then no daemon is alive.
func removeSocket(dir string) error {
	own := filepath.Join(dir, socketName)
	path, err := findSocket(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errForeignSocket) {
		path, err = own, nil // at most a link, to what is gone or not ours
	}
	if err != nil {
		return err
	}
	if path != own {
		// The folder is one that MkdirTemp made, with nothing else in it.
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
			os.Remove(path)
			os.Remove(filepath.Dir(path))
		}
	}
	if err := os.Remove(own); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// listenSocket binds the socket of a profile, for its owner alone.
func listenSocket(dir string) (net.Listener, string, error) {
	if err := removeSocket(dir); err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, socketName)
	link := ""
	if len(path) > maxSocketPath {
		private, err := os.MkdirTemp("", "parley-")
		if err != nil {
			return nil, "", err
		}
		link, path = path, filepath.Join(private, socketName)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, "", err
	}
	err = os.Chmod(path, 0o600)
	if err == nil && link != "" {
		err = os.Symlink(path, link)
	}
	if err != nil {
		l.Close()
		return nil, "", err
	}
	return l, path, nil
}

// server is the daemon's JSON-RPC.
type server struct {
	dir      string
	path     string
	listener net.Listener
	rpc      *rpc.Server
	service  *service
	stop     context.CancelFunc
	stopped  <-chan struct{}
	work     sync.WaitGroup // the accepting goroutine, and one per connection

	mu    sync.Mutex
	conns map[*conn]bool // nil once closed
}

// serve begins to serve a client on its profile's socket.
func serve(dir string, c *parley.Client, info func(context.Context) (parley.Info, error)) (*server, error) {
	l, path, err := listenSocket(dir)
	if err != nil {
		return nil, fmt.Errorf("the daemon's socket: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{dir: dir, path: path, listener: l, rpc: rpc.NewServer(), stop: stop, stopped: ctx.Done(), conns: map[*conn]bool{}}
	s.service = newService(ctx, c, info)
	s.rpc.SetBatchLimits(maxBatch, maxBatchSize)
	if err := s.rpc.RegisterName(namespace, s.service); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.work.Go(s.accept)
	return s, nil
}

func (s *server) accept() {
	for {
		nc, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files are open, for one
			select {
			case <-s.stopped:
				return
			case <-time.After(acceptAgain):
			}
			continue
		}
		c := &conn{Conn: nc}
		if !s.add(c) {
			nc.Close()
			continue
		}
		s.work.Go(func() {
			defer s.remove(c)
			s.rpc.ServeCodec(rpc.NewCodec(c), 0)
		})
	}
}

func (s *server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil || len(s.conns) >= maxConns {
		return false
	}
	s.conns[c] = true
	return true
}

func (s *server) remove(c *conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// close hangs up on everybody and waits until all is quiet.
func (s *server) close() {
	s.stop()
	s.listener.Close()
	s.rpc.Stop()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	s.work.Wait()
	s.service.subs.Wait()
	_ = removeSocket(s.dir) // what is left is found stale by the next daemon
}

// errForeignSocket is what findSocket finds where a link leads to somebody else's
// folder.
var errForeignSocket = errors.New("the daemon's socket is in a folder of somebody else's")

// errRequest ends a connection whose request is too large.
var errRequest = errors.New("request is too large")

// conn is a connection to the socket that bounds every request, and closes when
// it cannot be written to: half an answer makes the rest unreadable.
type conn struct {
	net.Conn
	// What is known of the message being read; owned by the reading goroutine.
	depth           int
	size            int
	quoted, escaped bool
}

// Read reads on, and fails once a message of JSON exceeds maxRequest.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	for _, ch := range b[:n] {
		c.size++
		switch {
		case c.escaped:
			c.escaped = false
		case c.quoted:
			c.escaped = ch == '\\'
			c.quoted = ch != '"'
		case ch == '"':
			c.quoted = true
		case ch == '{' || ch == '[':
			c.depth++
		case ch == '}' || ch == ']':
			if c.depth--; c.depth <= 0 {
				c.depth, c.size = 0, 0
			}
		}
		if c.size > maxRequest {
			return 0, errRequest
		}
	}
	return n, err
}

// Write writes, and closes the connection on failure.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.Close()
	}
	return n, err
}
