package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/parley-im/parley"
	"github.com/parley-im/parley/internal/store"
)

// backend is what does the work of a command: the client of this process, or
// the daemon's over its socket.
type backend interface {
	Info(context.Context) (parley.Info, error)
	Send(ctx context.Context, to string, c parley.Content, o parley.SendOptions) (parley.Receipt, error)
	SendGroup(ctx context.Context, group string, c parley.Content, o parley.SendOptions) (parley.Receipt, error)
	Message(context.Context, parley.MessageID) (parley.Message, error)
	Wait(context.Context, parley.MessageID, parley.State) (parley.Message, error)
	Messages(ctx context.Context, conversation string, limit int) ([]parley.Message, error)
	ApplicationMessages(ctx context.Context, conversation, prefix string, after parley.Cursor, limit int) ([]parley.Message, error)
	AppData(ctx context.Context, app, key string) ([]byte, error)
	AppDataKeys(ctx context.Context, app string) ([]string, error)
	SetAppData(ctx context.Context, app, key string, value []byte) error
	CreateGroup(ctx context.Context, name string, members []string, o parley.GroupOptions) (parley.Group, error)
	AddMembers(ctx context.Context, group string, members []string) (parley.Group, error)
	RemoveMembers(ctx context.Context, group string, members []string) (parley.Group, error)
	LeaveGroup(ctx context.Context, group string) error
	UpdateKeys(ctx context.Context, group string) error
	Groups(context.Context) ([]parley.Group, error)
	Group(ctx context.Context, group string) (parley.Group, error)
	Connect(ctx context.Context, addrs ...string) error
	SafetyNumber(ctx context.Context, peer string) (string, error)
	SafetyCode(ctx context.Context, peer string) ([]byte, error)
	CheckSafetyCode(ctx context.Context, peer string, code []byte) error
	AcceptPin(ctx context.Context, name string) error
	Subscribe(context.Context, parley.Cursor) iter.Seq2[parley.Event, error]
	Close() error
}

var (
	_ backend = (*parley.Client)(nil)
	_ backend = (*remote)(nil)
)

// reach says what a command needs that runs without a daemon.
type reach int

const (
	local  reach = iota // the profile, and names
	online              // the network too
)

// A command waits while another process holds the profile: a daemon does before
// it answers, and one that ends or a short command lets go of it soon.
const (
	lockPatience = 10 * time.Second
	lockAgain    = 50 * time.Millisecond
)

// open returns the daemon's client if a daemon is up, else one of this process.
func (a *app) open(ctx context.Context, need reach) (backend, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	if r, err := dialDaemon(ctx, dir); err == nil {
		return r, nil
	}
	unlock, err := a.unlockExisting(ctx, dir)
	if err != nil {
		return nil, err
	}
	done := a.progress("Opening the profile")
	defer func() { done() }()
	for began, waits := time.Now(), false; ; waits = true {
		c, err := a.openClient(ctx, dir, unlock, need)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, store.ErrLocked) || time.Since(began) > lockPatience {
			return nil, err
		}
		if !waits {
			done()
			done = a.progress("Waiting for the process that uses the profile")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockAgain):
		}
		if r, err := dialDaemon(ctx, dir); err == nil {
			return r, nil
		}
	}
}

// unlockExisting finds what opens the profile in a folder, which must have one.
func (a *app) unlockExisting(ctx context.Context, dir string) (parley.Unlock, error) {
	if !profileExists(dir) {
		return parley.Unlock{}, &messageError{fmt.Sprintf("no profile in %s (parley init makes one)", dir), store.ErrNotFound}
	}
	return a.unlock(ctx)
}

// openClient opens the profile in this process.
func (a *app) openClient(ctx context.Context, dir string, unlock parley.Unlock, need reach) (*parley.Client, error) {
	c, err := parley.Open(ctx, parley.Options{
		Dir: dir, Unlock: unlock,
		RPC:       a.or(a.rpc, "PARLEY_RPC"),
		Network:   a.or(a.network, "PARLEY_NETWORK"),
		Listen:    a.list(a.listen, "PARLEY_LISTEN"),
		Bootstrap: a.list(a.bootstrap, "PARLEY_BOOTSTRAP"),
		MDNS:      a.mdns,
		Offline:   need == local,
		Logger:    a.logger(),
	})
	if err != nil {
		return nil, profileError(dir, err)
	}
	return c, nil
}

// profileError says of which profile an error is.
func profileError(dir string, err error) error {
	var locked *store.LockedError
	switch {
	case errors.As(err, &locked) && locked.PID != 0:
		return &messageError{fmt.Sprintf("profile %s is in use by process %d", dir, locked.PID), err}
	case errors.Is(err, store.ErrLocked):
		return &messageError{fmt.Sprintf("profile %s is in use by another process", dir), err}
	case errors.Is(err, store.ErrExists):
		return &messageError{fmt.Sprintf("there is a profile in %s already", dir), err}
	case errors.Is(err, store.ErrPassphrase):
		return &messageError{fmt.Sprintf("wrong passphrase or key file for the profile %s", dir), err}
	case errors.Is(err, store.ErrCorrupt):
		return &messageError{fmt.Sprintf("%v (%s)", err, dir), err}
	}
	return err
}
