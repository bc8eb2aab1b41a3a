package parley

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
)

// maxIdempotencyKey bounds an idempotency key, in bytes.
const maxIdempotencyKey = 64

// Send writes to a peer: an ENS name, an address, or eip155:<chain>:0x…. The
// message is on disk when Send returns, and its Receipt is Queued; the client
// delivers it as soon as it can, now or after a restart. Wait tells how far it
// has come.
//
// It returns a *PeerError around ErrNoResolver, ErrSelf, the errors of
// identity's names and addresses, or a *PinChangedError; and ErrContent,
// ErrTooLarge or ErrIdempotency.
func (c *Client) Send(ctx context.Context, to string, content Content, opts SendOptions) (Receipt, error) {
	account, err := c.resolve(ctx, to)
	if err != nil {
		return Receipt{}, err
	}
	if account == c.me.account {
		return Receipt{}, &PeerError{to, ErrSelf}
	}
	return c.send(ctx, pairConv(account), &account, content, opts, nil)
}

// send stores a message and puts it into the outbox; check runs in the same
// transaction, before.
func (c *Client) send(ctx context.Context, conv string, account *identity.Account, content Content, opts SendOptions, check func(*step) error) (r Receipt, err error) {
	if err := content.sendable(); err != nil {
		return Receipt{}, err
	}
	if len(opts.IdempotencyKey) > maxIdempotencyKey {
		return Receipt{}, fmt.Errorf("%w: key is longer than %d bytes", ErrIdempotency, maxIdempotencyKey)
	}
	err = c.step(ctx, func(s *step) error {
		r = Receipt{State: Queued}
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		if known, err := s.repeated(conv, content, opts); known != nil || err != nil {
			if known != nil {
				r = *known
			}
			return err
		}
		if content.ID == (MessageID{}) {
			content.ID = NewMessageID()
		}
		r.ID = content.ID
		if content.Kind != KindReceipt { // what has a place in the conversation
			if content.Seq, err = s.nextSeq(conv); err != nil {
				return err
			}
		}
		b, err := content.Marshal()
		if err != nil {
			return err
		}
		if account == nil && len(b) > MaxGroupContent {
			return ErrTooLarge
		}
		fresh, err := s.insertMessage(conv, c.me.account, true, Queued, content)
		if err != nil {
			return err
		}
		if !fresh {
			return fmt.Errorf("%w: message id was used before", ErrContent)
		}
		if err := s.remember(conv, content, opts); err != nil {
			return err
		}
		if err := s.apply(conv, c.me.account, content); err != nil {
			return err
		}
		return s.enqueue(conv, account, content, true)
	})
	return r, err
}

// repeated returns the receipt of a message sent before under the same
// idempotency key, nil if there is none.
func (s *step) repeated(conv string, content Content, opts SendOptions) (*Receipt, error) {
	if opts.IdempotencyKey == "" {
		return nil, nil
	}
	digest, err := contentDigest(conv, content)
	if err != nil {
		return nil, err
	}
	var message, before []byte
	err = s.QueryRow(`SELECT message, digest FROM idempotency WHERE key = ?`, opts.IdempotencyKey).Scan(&message, &before)
	if err == nil {
		if !bytes.Equal(before, digest[:]) {
			return nil, ErrIdempotency
		}
		r := &Receipt{ID: MessageID(message)}
		var state string
		err := s.QueryRow(`SELECT state FROM messages WHERE id = ? AND own = 1`, message).Scan(&state)
		if r.State = State(state); errors.Is(err, store.ErrNoRows) {
			r.State, err = Delivered, nil // deleted since
		}
		return r, err
	}
	if errors.Is(err, store.ErrNoRows) {
		err = nil
	}
	return nil, err
}

// remember writes an idempotency key down with its message.
func (s *step) remember(conv string, content Content, opts SendOptions) error {
	if opts.IdempotencyKey == "" {
		return nil
	}
	digest, err := contentDigest(conv, content)
	if err != nil {
		return err
	}
	_, err = s.Exec(`INSERT INTO idempotency (key, message, digest) VALUES (?, ?, ?)`, opts.IdempotencyKey, content.ID[:], digest[:])
	return err
}

// contentDigest is over what a caller repeats: all but what send draws.
func contentDigest(conv string, content Content) ([32]byte, error) {
	content.ID, content.Seq = MessageID{}, 0
	b, err := content.Marshal()
	return sha256.Sum256(append([]byte(conv+"\x00"), b...)), err
}

// nextSeq numbers the next own message of a conversation, from 1.
func (s *step) nextSeq(conv string) (uint64, error) {
	if _, err := s.Exec(`INSERT INTO order_out (conv, next) VALUES (?, 2) ON CONFLICT (conv) DO UPDATE SET next = next + 1`, conv); err != nil {
		return 0, err
	}
	var next uint64
	err := s.QueryRow(`SELECT next FROM order_out WHERE conv = ?`, conv).Scan(&next)
	return next - 1, err
}

// enqueue puts content into the outbox, in parts if it takes more than one
// envelope. visible content is a message of the user, whose state it advances.
// account is nil in a group.
func (s *step) enqueue(conv string, account *identity.Account, content Content, visible bool) error {
	b, err := content.Marshal()
	if err != nil {
		return err
	}
	var acct, message []byte
	if account != nil {
		acct = account.Bytes()
	}
	if visible {
		message = content.ID[:]
	}
	// Receipts of delivery are not acknowledged: the sender of a message repeats
	// it until one arrives.
	acked := account != nil && (content.Kind != KindReceipt || content.Read)
	insert := func(wire MessageID, whole, b []byte) error {
		_, err := s.Exec(`INSERT INTO outbox (conv, acct, wire, message, whole, content, acked, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, conv, acct, wire[:], message, whole, b, acked, content.Seq)
		return err
	}
	s.then(func() { wake(s.c.wakePump) })
	if account == nil || len(b) <= partSize {
		return insert(content.ID, nil, b)
	}
	parts := split(b)
	for i, data := range parts {
		part := Content{Kind: kindPart, ID: NewMessageID(), Ref: &content.ID, Data: data, Index: uint32(i), Total: uint32(len(parts))}
		b, err := part.Marshal()
		if err != nil {
			return err
		}
		if err := insert(part.ID, content.ID[:], b); err != nil {
			return err
		}
	}
	return nil
}

// Parts of a content that exceeds one envelope.
const (
	// partSize leaves room for what a first message carries besides.
	partSize = 24 << 10
	maxParts = 64
	// maxWholes is how many contents may be in parts at a time, for one device
	// of a contact. A sender begins no more than that: a part that was
	// acknowledged is not sent again.
	maxWholes = 4
)

// split returns b as the data of as many parts as it takes.
func split(b []byte) [][]byte {
	var parts [][]byte
	for len(b) > partSize {
		parts, b = append(parts, b[:partSize]), b[partSize:]
	}
	return append(parts, b)
}

// join stores a part, and returns the whole when it was the last to come.
func (s *step) join(conv string, dev []byte, part Content) (*Content, error) {
	if _, err := s.Exec(`INSERT OR IGNORE INTO parts (conv, dev, whole, idx, total, data, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		conv, dev, part.Ref[:], part.Index, part.Total, part.Data, s.unixMilli()); err != nil {
		return nil, err
	}
	// A contact who begins more contents than it ends loses the oldest.
	if _, err := s.Exec(`DELETE FROM parts WHERE conv = ?1 AND dev = ?2 AND whole IN
		(SELECT whole FROM parts WHERE conv = ?1 AND dev = ?2 GROUP BY whole ORDER BY MIN(at) DESC LIMIT -1 OFFSET ?3)`, conv, dev, maxWholes); err != nil {
		return nil, err
	}
	rows, err := s.Query(`SELECT data FROM parts WHERE conv = ? AND dev = ? AND whole = ? AND total = ? ORDER BY idx`, conv, dev, part.Ref[:], part.Total)
	if err != nil {
		return nil, err
	}
	var b []byte
	n := 0
	for rows.Next() {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			return nil, err
		}
		b = append(b, data...)
		n++
	}
	if err := rows.Err(); err != nil || n < int(part.Total) {
		return nil, err
	}
	if _, err := s.Exec(`DELETE FROM parts WHERE conv = ? AND dev = ? AND whole = ?`, conv, dev, part.Ref[:]); err != nil {
		return nil, err
	}
	whole, err := s.content(b)
	if err != nil {
		return nil, nil
	}
	if whole.ID != *part.Ref || whole.Kind == kindPart {
		s.c.dropped.content.Add(1)
		return nil, nil
	}
	return &whole, nil
}

// apply carries out what a content does to others of its conversation: a
// deletion takes the author's own message away.
func (s *step) apply(conv string, author identity.Account, c Content) error {
	if c.Kind != KindDelete {
		return nil
	}
	_, err := s.Exec(`DELETE FROM messages WHERE conv = ? AND author = ? AND id = ?`, conv, author.Bytes(), c.Ref[:])
	return err
}
