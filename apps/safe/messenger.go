package safe

import (
	"context"
	"iter"

	"github.com/parley-im/parley"
)

// Messenger is what a room needs of a client of Parley: *parley.Client is one,
// and so is a daemon's client over its socket.
type Messenger interface {
	Info(context.Context) (parley.Info, error)
	Groups(context.Context) ([]parley.Group, error)
	Group(ctx context.Context, group string) (parley.Group, error)
	CreateGroup(ctx context.Context, name string, members []string, o parley.GroupOptions) (parley.Group, error)
	AddMembers(ctx context.Context, group string, members []string) (parley.Group, error)
	RemoveMembers(ctx context.Context, group string, members []string) (parley.Group, error)
	SendGroup(ctx context.Context, group string, c parley.Content, o parley.SendOptions) (parley.Receipt, error)
	ApplicationMessages(ctx context.Context, group, prefix string, after parley.Cursor, limit int) ([]parley.Message, error)
	Subscribe(context.Context, parley.Cursor) iter.Seq2[parley.Event, error]
}

var _ Messenger = (*parley.Client)(nil)
