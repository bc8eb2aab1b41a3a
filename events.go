package parley

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
)

// Conversations are named p:<hex account> and g:<hex group id>.
func pairConv(a identity.Account) string { return "p:" + hex.EncodeToString(a.Bytes()) }
func groupConv(id []byte) string         { return "g:" + hex.EncodeToString(id) }

// eventPage is how many events are read from the database at a time.
const eventPage = 128

// Subscribe yields every event after a cursor: those that are stored, then
// those to come, until ctx ends or the client is closed. What was yielded can
// be asked for again, also after a restart; a reader keeps the cursor of what
// it has dealt with. The last pair yielded has an error, ErrClosed or the
// context's.
func (c *Client) Subscribe(ctx context.Context, after Cursor) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			changed := c.changed.wait()
			page, last, err := c.eventsAfter(ctx, after)
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if last > after {
				after = last
				continue
			}
			select {
			case <-ctx.Done():
				yield(Event{}, ctx.Err())
				return
			case <-changed:
			}
		}
	}
}

// eventsAfter returns a page of events, and the cursor it was read up to: the
// message of an event may be deleted by now, and the event then says nothing.
func (c *Client) eventsAfter(ctx context.Context, after Cursor) (page []Event, last Cursor, err error) {
	last = after
	err = c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT e.seq, e.kind, e.at, e.message, e.state, e.body FROM events e
			WHERE e.seq > ? ORDER BY e.seq LIMIT ?`, uint64(after), eventPage)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq uint64
			var kind string
			var at int64
			var message *int64
			var state, body *string
			if err := rows.Scan(&seq, &kind, &at, &message, &state, &body); err != nil {
				return err
			}
			last = Cursor(seq)
			e := Event{}
			if body != nil {
				if err := json.Unmarshal([]byte(*body), &e); err != nil {
					return fmt.Errorf("%w: event %d", store.ErrCorrupt, seq)
				}
			}
			e.Cursor, e.Kind, e.Time = last, EventKind(kind), time.UnixMilli(at)
			if message != nil {
				m, err := c.messageRow(tx, `row = ?`, *message)
				if errors.Is(err, store.ErrNoRows) {
					continue
				}
				if err != nil {
					return err
				}
				m.Cursor = last
				if state != nil {
					m.State = State(*state)
				}
				e.Message = &m
			}
			page = append(page, e)
		}
		return rows.Err()
	})
	return page, last, err
}

// messageRow reads one message; where is a constant condition.
func (c *Client) messageRow(tx *store.Tx, where string, args ...any) (Message, error) {
	var (
		id, author, content []byte
		conv, state         string
		own                 bool
		at                  int64
	)
	err := tx.QueryRow(`SELECT id, conv, author, own, at, state, content FROM messages WHERE `+where, args...).
		Scan(&id, &conv, &author, &own, &at, &state, &content)
	if err != nil {
		return Message{}, err
	}
	m := Message{Own: own, Time: time.UnixMilli(at), State: State(state)}
	copy(m.ID[:], id)
	if m.Content, err = ParseContent(content); err != nil {
		return Message{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	account, err := identity.AccountFromBytes(author)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	m.From = c.peer(tx, account)
	kind, name, _ := strings.Cut(conv, ":")
	raw, err := hex.DecodeString(name)
	if err != nil {
		return Message{}, fmt.Errorf("%w: conversation", store.ErrCorrupt)
	}
	if kind == "g" {
		m.Group = &GroupRef{ID: name}
		if err := tx.QueryRow(`SELECT name FROM groups WHERE id = ?`, raw).Scan(&m.Group.Name); err != nil && !errors.Is(err, store.ErrNoRows) {
			return Message{}, err
		}
		return m, nil
	}
	other, err := identity.AccountFromBytes(raw)
	if err != nil {
		return Message{}, fmt.Errorf("%w: conversation", store.ErrCorrupt)
	}
	if to := c.peer(tx, other); own {
		m.To = &to
	} else {
		to = c.peer(tx, c.me.account)
		m.To = &to
	}
	return m, nil
}

// peer is how an account is shown.
func (c *Client) peer(tx *store.Tx, a identity.Account) Peer {
	p := Peer{Address: a.Address.String()}
	if a == c.me.account && c.me.name != "" {
		p.Name = c.me.name
		return p
	}
	err := store.ErrNoRows
	if a == identity.KeyAccount(a.Address) { // names lead to these; a contract's address is another's elsewhere
		err = tx.QueryRow(`SELECT name FROM pins WHERE address = ? ORDER BY first_seen LIMIT 1`, a.Address).Scan(&p.Name)
	}
	if err != nil {
		_ = tx.QueryRow(`SELECT name FROM accounts WHERE acct = ?`, a.Bytes()).Scan(&p.Name) // no row: no name
	}
	return p
}

// emit writes an event that has no message.
func (s *step) emit(e Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	s.event = true
	_, err = s.Exec(`INSERT INTO events (kind, at, body) VALUES (?, ?, ?)`, string(e.Kind), s.unixMilli(), string(body))
	return err
}

// alert tells a person something.
func (s *step) alert(text string, peers ...Peer) error {
	s.c.log.Warn("alert: see the events") // the text names people
	return s.emit(Event{Kind: EventAlert, Text: text, Peers: peers})
}

// insertMessage stores a message and its event. It reports false for one of
// this author's that is stored already under its id.
func (s *step) insertMessage(conv string, author identity.Account, own bool, state State, c Content) (bool, error) {
	b, err := c.Marshal()
	if err != nil {
		return false, err
	}
	app := ""
	if c.Kind == KindApplication {
		app = c.Type
	}
	r, err := s.Exec(`INSERT OR IGNORE INTO messages (id, conv, author, own, at, state, expires, content, app) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID[:], conv, author.Bytes(), own, s.unixMilli(), string(state), int64(min(c.Expires, 1<<40))*1000, b, app)
	if err != nil || r.RowsAffected == 0 {
		return false, err
	}
	s.event = true
	_, err = s.Exec(`INSERT INTO events (kind, at, message, state) VALUES (?, ?, ?, ?)`, string(EventMessage), s.unixMilli(), r.LastInsertID, string(state))
	return true, err
}

// rank orders the states of an outgoing message.
func (st State) rank() int {
	switch st {
	case Queued:
		return 1
	case Sent:
		return 2
	case Delivered:
		return 3
	case Read, Received:
		return 4
	}
	return 0
}

// advance moves an own message to a later state, if it is not there already.
func (s *step) advance(conv string, id MessageID, to State) error {
	var row int64
	var state string
	err := s.QueryRow(`SELECT row, state FROM messages WHERE id = ? AND conv = ? AND own = 1`, id[:], conv).Scan(&row, &state)
	if errors.Is(err, store.ErrNoRows) {
		return nil // the client's own, or deleted since
	}
	if err != nil || State(state).rank() >= to.rank() {
		return err
	}
	if _, err := s.Exec(`UPDATE messages SET state = ? WHERE row = ?`, string(to), row); err != nil {
		return err
	}
	s.event = true
	_, err = s.Exec(`INSERT INTO events (kind, at, message, state) VALUES (?, ?, ?, ?)`, string(EventState), s.unixMilli(), row, string(to))
	return err
}

// Message returns an own message by its id, with the state it is in, or
// ErrUnknownMessage.
func (c *Client) Message(ctx context.Context, id MessageID) (m Message, err error) {
	err = c.view(ctx, func(tx *store.Tx) (err error) {
		m, err = c.messageRow(tx, `id = ? AND own = 1`, id[:])
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return m, ErrUnknownMessage
	}
	return m, err
}

// Wait blocks until an own message has come at least as far as state, and
// returns it; or until ctx ends, and returns it as it is with the context's
// error.
func (c *Client) Wait(ctx context.Context, id MessageID, state State) (Message, error) {
	for {
		changed := c.changed.wait()
		m, err := c.Message(context.WithoutCancel(ctx), id)
		if err != nil || m.State.rank() >= state.rank() {
			return m, err
		}
		select {
		case <-ctx.Done():
			return m, ctx.Err()
		case <-changed:
		}
	}
}

// Messages returns the last messages of a conversation, oldest first: with a
// name or an address, or of a group by its name or id.
func (c *Client) Messages(ctx context.Context, conversation string, limit int) ([]Message, error) {
	conv, err := c.conversation(ctx, conversation)
	if err != nil {
		return nil, err
	}
	var all []Message
	err = c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT row FROM (SELECT row FROM messages WHERE conv = ? ORDER BY row DESC LIMIT ?) ORDER BY row`, conv, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row int64
			if err := rows.Scan(&row); err != nil {
				return err
			}
			m, err := c.messageRow(tx, `row = ?`, row)
			if err != nil {
				return err
			}
			all = append(all, m)
		}
		return rows.Err()
	})
	return all, err
}

// conversation finds what a person means: a peer, else a group. What can be a
// peer is one, whatever groups are named: their names are others' choice.
func (c *Client) conversation(ctx context.Context, s string) (string, error) {
	account, err := c.resolve(ctx, s)
	switch {
	case err == nil:
		return pairConv(account), nil
	case errors.Is(err, identity.ErrNameUnavailable) || errors.As(err, new(*PinChangedError)):
		return "", err // it is a peer's name, and nothing else
	}
	id, groupErr := c.groupID(ctx, s)
	if errors.Is(groupErr, ErrUnknownGroup) {
		return "", err
	}
	return groupConv(id), groupErr
}
