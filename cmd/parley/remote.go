package main

import (
	"context"
	"errors"
	"iter"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/rpc"

	"github.com/parley-im/parley"
)

// remote is the client of a daemon, over its socket.
type remote struct {
	rpc  *rpc.Client
	conn *socketConn
}

// socketConn is a connection to a daemon that tells when it is over.
type socketConn struct {
	net.Conn
	alive context.Context // done once nothing more can be read
	over  context.CancelFunc
}

func (c *socketConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.over()
	}
	return n, err
}

// lastWords is how long what was read before the end of a connection may take to
// be understood.
const lastWords = 200 * time.Millisecond

// dialDaemon connects to the daemon of a profile. It fails at once when there
// is none.
func dialDaemon(ctx context.Context, dir string) (*remote, error) {
	path, err := findSocket(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	socket, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	conn := &socketConn{Conn: socket}
	conn.alive, conn.over = context.WithCancel(context.Background())
	c, err := rpc.DialIO(ctx, conn, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &remote{c, conn}, nil
}

// Close hangs up.
func (r *remote) Close() error {
	err := r.conn.Close() // first: the other waits until nothing more is read
	r.rpc.Close()
	return err
}

// whileAlive runs a call, and ends it after the connection does: the client
// beneath waits for ever for an answer to what it has sent into a connection that
// it knew to be over.
func (r *remote) whileAlive(ctx context.Context, f func(context.Context) error) error {
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.conn.alive, func() { time.AfterFunc(lastWords, cancel) })()
	err := f(callCtx)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return &messageError{errDaemonGone.Error(), errDaemonGone}
	}
	return incoming(err)
}

func call[T any](ctx context.Context, r *remote, method string, params ...any) (T, error) {
	var result T
	err := r.whileAlive(ctx, func(ctx context.Context) error {
		return r.rpc.CallContext(ctx, &result, namespace+"_"+method, params...)
	})
	return result, err
}

func (r *remote) do(ctx context.Context, method string, params ...any) error {
	return r.whileAlive(ctx, func(ctx context.Context) error {
		return r.rpc.CallContext(ctx, nil, namespace+"_"+method, params...)
	})
}

func (r *remote) Info(ctx context.Context) (parley.Info, error) {
	return call[parley.Info](ctx, r, "info")
}

func (r *remote) Send(ctx context.Context, to string, c parley.Content, o parley.SendOptions) (parley.Receipt, error) {
	return call[parley.Receipt](ctx, r, "send", to, c, o)
}

func (r *remote) SendGroup(ctx context.Context, group string, c parley.Content, o parley.SendOptions) (parley.Receipt, error) {
	return call[parley.Receipt](ctx, r, "sendGroup", group, c, o)
}

func (r *remote) Message(ctx context.Context, id parley.MessageID) (parley.Message, error) {
	return call[parley.Message](ctx, r, "message", id)
}

// Wait asks the daemon to wait, a while at a time, for as long as ctx allows.
func (r *remote) Wait(ctx context.Context, id parley.MessageID, state parley.State) (parley.Message, error) {
	for {
		timeout := maxWait
		if deadline, ok := ctx.Deadline(); ok {
			timeout = max(0, min(timeout, time.Until(deadline)))
		}
		// The daemon ends at the deadline; what it says then is still wanted.
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+2*time.Second)
		abandon := context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.Canceled) {
				cancel()
			}
		})
		m, err := call[parley.Message](patience, r, "wait", id, state, timeout.Milliseconds())
		abandon()
		cancel()
		if err != nil || reached(m.State, state) {
			return m, err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Now().Add(time.Millisecond).After(deadline) {
			return m, context.DeadlineExceeded
		}
	}
}

// reached reports whether an own message has come as far as is wanted.
func reached(is, want parley.State) bool {
	order := map[parley.State]int{parley.Queued: 1, parley.Sent: 2, parley.Delivered: 3, parley.Read: 4}
	return order[is] >= order[want]
}

func (r *remote) Messages(ctx context.Context, conversation string, limit int) ([]parley.Message, error) {
	return call[[]parley.Message](ctx, r, "messages", conversation, limit)
}

func (r *remote) ApplicationMessages(ctx context.Context, conversation, prefix string, after parley.Cursor, limit int) ([]parley.Message, error) {
	return call[[]parley.Message](ctx, r, "applicationMessages", conversation, prefix, after, limit)
}

func (r *remote) AppData(ctx context.Context, app, key string) ([]byte, error) {
	return call[[]byte](ctx, r, "appData", app, key)
}

func (r *remote) AppDataKeys(ctx context.Context, app string) ([]string, error) {
	return call[[]string](ctx, r, "appDataKeys", app)
}

func (r *remote) SetAppData(ctx context.Context, app, key string, value []byte) error {
	return r.do(ctx, "setAppData", app, key, value)
}

func (r *remote) CreateGroup(ctx context.Context, name string, members []string, o parley.GroupOptions) (parley.Group, error) {
	return call[parley.Group](ctx, r, "createGroup", name, members, o)
}

func (r *remote) AddMembers(ctx context.Context, group string, members []string) (parley.Group, error) {
	return call[parley.Group](ctx, r, "addMembers", group, members)
}

func (r *remote) RemoveMembers(ctx context.Context, group string, members []string) (parley.Group, error) {
	return call[parley.Group](ctx, r, "removeMembers", group, members)
}

func (r *remote) LeaveGroup(ctx context.Context, group string) error {
	return r.do(ctx, "leaveGroup", group)
}

func (r *remote) UpdateKeys(ctx context.Context, group string) error {
	return r.do(ctx, "updateKeys", group)
}

func (r *remote) Groups(ctx context.Context) ([]parley.Group, error) {
	return call[[]parley.Group](ctx, r, "groups")
}

func (r *remote) Group(ctx context.Context, group string) (parley.Group, error) {
	return call[parley.Group](ctx, r, "group", group)
}

func (r *remote) Connect(ctx context.Context, addrs ...string) error {
	return r.do(ctx, "connect", addrs)
}

func (r *remote) SafetyNumber(ctx context.Context, peer string) (string, error) {
	return call[string](ctx, r, "safetyNumber", peer)
}

func (r *remote) SafetyCode(ctx context.Context, peer string) ([]byte, error) {
	return call[[]byte](ctx, r, "safetyCode", peer)
}

func (r *remote) CheckSafetyCode(ctx context.Context, peer string, code []byte) error {
	return r.do(ctx, "checkSafetyCode", peer, code)
}

func (r *remote) AcceptPin(ctx context.Context, name string) error {
	return r.do(ctx, "acceptPin", name)
}

// Subscribe is Client.Subscribe by the daemon. A subscription that is dropped
// because this side was too slow is taken up again where it ended.
func (r *remote) Subscribe(ctx context.Context, after parley.Cursor) iter.Seq2[parley.Event, error] {
	return func(yield func(parley.Event, error) bool) {
		for {
			ch := make(chan notice, 256)
			var sub *rpc.ClientSubscription
			err := r.whileAlive(ctx, func(ctx context.Context) (err error) {
				sub, err = r.rpc.Subscribe(ctx, namespace, ch, "events", after)
				return err
			})
			if err != nil {
				yield(parley.Event{}, err)
				return
			}
			for overflow := false; !overflow; {
				select {
				case n := <-ch:
					if n.Error != nil {
						f, _ := faultNumbered(n.Error.Number)
						yield(parley.Event{}, &messageError{n.Error.Message, f.err})
						sub.Unsubscribe()
						return
					}
					if n.Event == nil {
						continue
					}
					if !yield(*n.Event, nil) {
						sub.Unsubscribe()
						return
					}
					after = n.Cursor
				case err := <-sub.Err():
					if overflow = errors.Is(err, rpc.ErrSubscriptionQueueOverflow); overflow {
						continue
					}
					yield(parley.Event{}, &messageError{errDaemonGone.Error(), errDaemonGone})
					return
				case <-ctx.Done():
					sub.Unsubscribe()
					yield(parley.Event{}, ctx.Err())
					return
				}
			}
		}
	}
}
