package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/rpc"

	"github.com/parley-im/parley"
)

// namespace is that of the methods: parley_send and so on.
const namespace = "parley"

// Limits of the daemon's methods.
const (
	maxWait       = 10 * time.Minute // of one parley_wait
	maxMessages   = 1000             // of one parley_messages
	maxSubscribed = 64               // subscriptions at a time
)

// service is the methods of namespace "parley". Every error is an rpcError.
type service struct {
	c    *parley.Client
	info func(context.Context) (parley.Info, error)

	stop context.Context // ends with the daemon
	subs sync.WaitGroup  // the goroutines of subscriptions
	free chan struct{}   // a token per subscription that may still begin
}

func newService(stop context.Context, c *parley.Client, info func(context.Context) (parley.Info, error)) *service {
	s := &service{c: c, info: info, stop: stop, free: make(chan struct{}, maxSubscribed)}
	for range maxSubscribed {
		s.free <- struct{}{}
	}
	return s
}

// contentParam is content in a request: an object as Content has it, or a string
// for a text.
type contentParam struct{ parley.Content }

// UnmarshalJSON reads either form.
func (p *contentParam) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		p.Content = parley.Text("")
		return json.Unmarshal(b, &p.Text)
	}
	return json.Unmarshal(b, &p.Content)
}

func options(o *parley.SendOptions) parley.SendOptions {
	if o == nil {
		return parley.SendOptions{}
	}
	return *o
}

// Info is parley_info.
func (s *service) Info(ctx context.Context) (parley.Info, error) {
	info, err := s.info(ctx)
	return info, outgoing(err)
}

// Send is parley_send.
func (s *service) Send(ctx context.Context, to string, content contentParam, opts *parley.SendOptions) (parley.Receipt, error) {
	r, err := s.c.Send(ctx, to, content.Content, options(opts))
	return r, outgoing(err)
}

// SendGroup is parley_sendGroup.
func (s *service) SendGroup(ctx context.Context, group string, content contentParam, opts *parley.SendOptions) (parley.Receipt, error) {
	r, err := s.c.SendGroup(ctx, group, content.Content, options(opts))
	return r, outgoing(err)
}

// Message is parley_message.
func (s *service) Message(ctx context.Context, id parley.MessageID) (*parley.Message, error) {
	m, err := s.c.Message(ctx, id)
	if err != nil {
		return nil, outgoing(err)
	}
	return &m, nil
}

// Wait is parley_wait. When the time is over it returns the message as it is.
func (s *service) Wait(ctx context.Context, id parley.MessageID, state parley.State, milliseconds uint64) (*parley.Message, error) {
	switch state {
	case parley.Queued, parley.Sent, parley.Delivered, parley.Read:
	default:
		return nil, outgoing(usagef("no such state: %q", state))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(min(milliseconds, uint64(maxWait.Milliseconds())))*time.Millisecond)
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	m, err := s.c.Wait(ctx, id, state)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, outgoing(err)
	}
	return &m, nil
}

// Messages is parley_messages.
func (s *service) Messages(ctx context.Context, conversation string, limit int) ([]parley.Message, error) {
	if limit < 1 {
		return nil, outgoing(usagef("limit is at least 1"))
	}
	all, err := s.c.Messages(ctx, conversation, min(limit, maxMessages))
	if all == nil {
		all = []parley.Message{}
	}
	return all, outgoing(err)
}

// ApplicationMessages is parley_applicationMessages.
func (s *service) ApplicationMessages(ctx context.Context, conversation, prefix string, after parley.Cursor, limit int) ([]parley.Message, error) {
	if limit < 1 {
		return nil, outgoing(usagef("limit is at least 1"))
	}
	all, err := s.c.ApplicationMessages(ctx, conversation, prefix, after, min(limit, maxMessages))
	return all, outgoing(err)
}

// AppData is parley_appData.
func (s *service) AppData(ctx context.Context, app, key string) ([]byte, error) {
	value, err := s.c.AppData(ctx, app, key)
	return value, outgoing(err)
}

// AppDataKeys is parley_appDataKeys.
func (s *service) AppDataKeys(ctx context.Context, app string) ([]string, error) {
	keys, err := s.c.AppDataKeys(ctx, app)
	return keys, outgoing(err)
}

// SetAppData is parley_setAppData.
func (s *service) SetAppData(ctx context.Context, app, key string, value []byte) error {
	return outgoing(s.c.SetAppData(ctx, app, key, value))
}

// CreateGroup is parley_createGroup.
func (s *service) CreateGroup(ctx context.Context, name string, members []string, o *parley.GroupOptions) (*parley.Group, error) {
	if o == nil {
		o = &parley.GroupOptions{}
	}
	return groupResult(s.c.CreateGroup(ctx, name, members, *o))
}

// AddMembers is parley_addMembers.
func (s *service) AddMembers(ctx context.Context, group string, members []string) (*parley.Group, error) {
	return groupResult(s.c.AddMembers(ctx, group, members))
}

// RemoveMembers is parley_removeMembers.
func (s *service) RemoveMembers(ctx context.Context, group string, members []string) (*parley.Group, error) {
	return groupResult(s.c.RemoveMembers(ctx, group, members))
}

// LeaveGroup is parley_leaveGroup.
func (s *service) LeaveGroup(ctx context.Context, group string) error {
	return outgoing(s.c.LeaveGroup(ctx, group))
}

// UpdateKeys is parley_updateKeys.
func (s *service) UpdateKeys(ctx context.Context, group string) error {
	return outgoing(s.c.UpdateKeys(ctx, group))
}

// Groups is parley_groups.
func (s *service) Groups(ctx context.Context) ([]parley.Group, error) {
	all, err := s.c.Groups(ctx)
	if all == nil {
		all = []parley.Group{}
	}
	return all, outgoing(err)
}

// Group is parley_group.
func (s *service) Group(ctx context.Context, group string) (*parley.Group, error) {
	return groupResult(s.c.Group(ctx, group))
}

func groupResult(g parley.Group, err error) (*parley.Group, error) {
	if err != nil {
		return nil, outgoing(err)
	}
	return &g, nil
}

// Connect is parley_connect.
func (s *service) Connect(ctx context.Context, addrs []string) error {
	return outgoing(s.c.Connect(ctx, addrs...))
}

// SafetyNumber is parley_safetyNumber.
func (s *service) SafetyNumber(ctx context.Context, peer string) (string, error) {
	number, err := s.c.SafetyNumber(ctx, peer)
	return number, outgoing(err)
}

// SafetyCode is parley_safetyCode.
func (s *service) SafetyCode(ctx context.Context, peer string) ([]byte, error) {
	code, err := s.c.SafetyCode(ctx, peer)
	return code, outgoing(err)
}

// CheckSafetyCode is parley_checkSafetyCode.
func (s *service) CheckSafetyCode(ctx context.Context, peer string, code []byte) error {
	return outgoing(s.c.CheckSafetyCode(ctx, peer, code))
}

// AcceptPin is parley_acceptPin.
func (s *service) AcceptPin(ctx context.Context, name string) error {
	return outgoing(s.c.AcceptPin(ctx, name))
}

// notice is what a subscription carries: an event, or the error that ended it.
type notice struct {
	*parley.Event
	Error *wireFault `json:"error,omitempty"`
}

// Events is parley_subscribe("events", cursor).
func (s *service) Events(ctx context.Context, after *parley.Cursor) (*rpc.Subscription, error) {
	notifier, ok := rpc.NotifierFromContext(ctx)
	if !ok {
		return nil, rpc.ErrNotificationsUnsupported
	}
	select {
	case <-s.free:
	default:
		return nil, outgoing(fmt.Errorf("parley: there are %d subscriptions already", maxSubscribed))
	}
	var from parley.Cursor
	if after != nil {
		from = *after
	}
	sub := notifier.CreateSubscription()
	ctx, cancel := context.WithCancel(s.stop)
	s.subs.Go(func() {
		<-sub.Err() // the subscriber, or its connection, is gone
		cancel()
	})
	s.subs.Go(func() {
		defer func() { s.free <- struct{}{} }()
		for e, err := range s.c.Subscribe(ctx, from) {
			n := notice{Event: &e}
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				f := wireFaultOf(err)
				n = notice{Error: &f}
			}
			if notifier.Notify(sub.ID, n) != nil {
				return // the connection closes itself
			}
		}
	})
	return sub, nil
}
