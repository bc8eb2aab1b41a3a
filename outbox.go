package parley

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

const (
	// A message is repeated until it is acknowledged, after retryFirst, then
	// twice as long each time, up to retrySlowest; and at once when a peer comes.
	retryFirst   = 3 * time.Second
	retrySlowest = time.Minute
	// ackDelay is how long acknowledgements gather before they go out together.
	ackDelay = 50 * time.Millisecond
	// reackEvery bounds how often one repeated message is acknowledged again.
	reackEvery = time.Second
	// publishBatch is how many envelopes are published per transaction.
	publishBatch = 128
	// pumpIdle is the longest time the pump sleeps.
	pumpIdle = time.Second
	// holdFor is how long a message waits for those its author sent before it:
	// much longer than retries are apart, and as long as a group's past epochs
	// are kept, after which what is missing could not be read any more.
	holdFor = pastFor
	// holdGrace is how long after the client was opened that may be twice as much.
	holdGrace = 5 * time.Minute
	// maxHeld and maxHeldBytes bound what waits so, for one device and
	// conversation. What exceeds them is not read, and comes again.
	maxHeld      = 256
	maxHeldBytes = 8 << 20
	// expireEvery is how often what has had its time is looked for.
	expireEvery = time.Minute
	// seenFor is how long ciphertext is remembered. What is repeated later has
	// no key any more.
	seenFor = 60 * 24 * time.Hour
)

// pumpLoop moves the outbox: it encrypts what waits, publishes what is due, and
// looks for the records it needs.
func (c *Client) pumpLoop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakePump:
		case <-timer.C:
		}
		next, err := c.pump(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.Error("outbox", "err", err)
			next = time.Now().Add(pumpIdle)
		}
		timer.Reset(max(0, min(pumpIdle, time.Until(next))))
	}
}

// pump does all there is to do now, and returns when there is more.
func (c *Client) pump(ctx context.Context) (next time.Time, err error) {
	next = time.Now().Add(pumpIdle)
	if due := c.nextProposals(); !due.IsZero() && due.Before(next) {
		next = due
	}
	// What cannot be encrypted does not hold up what is.
	failed := c.fill(ctx)
	if due := c.fetchWanted(ctx, time.Now()); !due.IsZero() && due.Before(next) {
		next = due
	}
	for more := true; more; {
		if more, err = c.publishDue(ctx); err != nil {
			return next, errors.Join(failed, err)
		}
	}
	var due *int64
	err = c.view(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT MIN(due) FROM outbox WHERE tag IS NOT NULL`).Scan(&due)
	})
	if due != nil && time.UnixMilli(*due).Before(next) {
		next = time.UnixMilli(*due)
	}
	return next, errors.Join(failed, err)
}

// fill does what waits for a step of its own: it encrypts what is queued in
// each conversation, and commits what was proposed.
func (c *Client) fill(ctx context.Context) error {
	var convs []string
	err := c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT DISTINCT conv FROM outbox WHERE tag IS NULL`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var conv string
			if err := rows.Scan(&conv); err != nil {
				return err
			}
			convs = append(convs, conv)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	var steps []func(*step) error
	c.mu.Lock()
	for id := range c.judgeWanted {
		if g := c.groups[id]; g != nil {
			steps = append(steps, func(s *step) error { return s.onGroup(id, s.judge) })
		}
	}
	for id, p := range c.proposals {
		if !p.due.IsZero() && !p.due.After(time.Now()) {
			steps = append(steps, func(s *step) error { return s.onGroup(id, s.commitProposals) })
		}
	}
	clear(c.judgeWanted)
	c.mu.Unlock()
	for _, conv := range convs {
		steps = append(steps, func(s *step) error { return s.fillConv(conv) })
	}
	// One conversation's trouble is not another's: each has its transaction.
	var failed error
	for _, fn := range steps {
		failed = errors.Join(failed, c.step(ctx, fn))
	}
	return failed
}

// onGroup runs fn on a group, unless the client has left it meanwhile.
func (s *step) onGroup(id string, fn func(*group) error) error {
	if g := s.c.groups[id]; g != nil {
		return fn(g)
	}
	return nil
}

// fillConv encrypts what waits in a conversation.
func (s *step) fillConv(conv string) error {
	kind, name, _ := strings.Cut(conv, ":")
	id, err := hex.DecodeString(name)
	if err != nil {
		return fmt.Errorf("%w: conversation", store.ErrCorrupt)
	}
	if kind == "g" {
		return s.onGroup(string(id), s.fillGroup)
	}
	account, err := identity.AccountFromBytes(id)
	if err != nil {
		return fmt.Errorf("%w: conversation", store.ErrCorrupt)
	}
	return s.fillPair(conv, account)
}

// waiting is a row of the outbox that is not encrypted yet.
type waiting struct {
	id      int64
	whole   []byte // of which it is a part, or nil
	content []byte
}

// unencrypted returns what waits in a conversation, oldest first: of what is
// to be acknowledged, or of what is not.
func (s *step) unencrypted(conv string, acked bool, limit int) ([]waiting, error) {
	rows, err := s.Query(`SELECT id, whole, content FROM outbox WHERE conv = ? AND tag IS NULL AND acked = ? ORDER BY id LIMIT ?`, conv, acked, limit)
	if err != nil {
		return nil, err
	}
	var all []waiting
	for rows.Next() {
		var w waiting
		if err := rows.Scan(&w.id, &w.whole, &w.content); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, rows.Err()
}

// encrypted writes the ciphertext of a row. It leaves only after the commit.
func (s *step) encrypted(id int64, session []byte, tag transport.Tag, body []byte, shard int) error {
	_, err := s.Exec(`UPDATE outbox SET session = ?, tag = ?, body = ?, shard = ?, at = ?, due = 0 WHERE id = ?`, session, tag, body, shard, s.unixMilli(), id)
	return err
}

// baseSeq returns the lowest Seq of a pair that has not been acknowledged.
func (s *step) baseSeq(conv string) (base uint64, err error) {
	err = s.QueryRow(`SELECT COALESCE(MIN(seq), ?) FROM outbox WHERE conv = ? AND seq > 0`, uint64(maxSeq), conv).Scan(&base)
	return base, err
}

// publishDue publishes a batch of what is due, and reports whether there may be
// more.
func (c *Client) publishDue(ctx context.Context) (more bool, err error) {
	type outgoing struct {
		id, attempts int64
		message      []byte
		conv         string
		acked        bool
		tag          transport.Tag
		body         []byte
		shard        int
		heard        bool
	}
	var batch []outgoing
	err = c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id, attempts, message, conv, acked, tag, body, shard FROM outbox
			WHERE tag IS NOT NULL AND due <= ? ORDER BY id LIMIT ?`, time.Now().UnixMilli(), publishBatch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o outgoing
			if err := rows.Scan(&o.id, &o.attempts, &o.message, &o.conv, &o.acked, &o.tag, &o.body, &o.shard); err != nil {
				return err
			}
			batch = append(batch, o)
		}
		return rows.Err()
	})
	if err != nil || len(batch) == 0 {
		return false, err
	}
	for i := range batch {
		o := &batch[i]
		e, err := transport.NewEnvelope(o.tag, o.body)
		if err != nil {
			return false, fmt.Errorf("%w: outbox: %w", store.ErrCorrupt, err)
		}
		switch err := c.node.Publish(ctx, o.shard, e); {
		case err == nil:
			o.heard = true
		case ctx.Err() != nil:
			return false, ctx.Err()
		case !errors.Is(err, transport.ErrNoPeers):
			c.log.Warn("publish", "err", err)
		}
	}
	err = c.step(ctx, func(s *step) error {
		for _, o := range batch {
			if o.heard && o.message != nil {
				if err := s.advance(o.conv, MessageID(o.message), Sent); err != nil {
					return err
				}
			}
			if o.heard && !o.acked {
				if _, err := s.Exec(`DELETE FROM outbox WHERE id = ?`, o.id); err != nil {
					return err
				}
				continue
			}
			// The delays grow with what was heard and not answered; silence of
			// the network itself ends with somebody's coming.
			attempts := o.attempts
			if o.heard {
				attempts++
			}
			due := s.now.Add(min(retryFirst<<min(o.attempts, 8), retrySlowest))
			if _, err := s.Exec(`UPDATE outbox SET attempts = ?, due = ? WHERE id = ?`, attempts, due.UnixMilli(), o.id); err != nil {
				return err
			}
		}
		return nil
	})
	return len(batch) == publishBatch, err
}

// retryNow makes everything in the outbox due: somebody new can hear it.
func (c *Client) retryNow(ctx context.Context) {
	err := c.step(ctx, func(s *step) error {
		_, err := s.Exec(`UPDATE outbox SET due = 0, attempts = 0 WHERE tag IS NOT NULL AND due > 0`)
		return err
	})
	if err != nil && ctx.Err() == nil {
		c.log.Error("outbox", "err", err)
	}
	wake(c.wakePump)
}

// acknowledge gathers a message's id for the next receipt. Held: c.mu.
func (c *Client) acknowledge(a identity.Account, wire MessageID) {
	first := len(c.acks) == 0
	c.acks[a] = append(c.acks[a], wire)
	if first {
		time.AfterFunc(ackDelay, c.sendAcks)
	}
}

// sendAcks puts the gathered acknowledgements into the outbox. Those that a
// crash loses are made again when the message is repeated.
func (c *Client) sendAcks() {
	err := c.step(context.Background(), func(s *step) error {
		acks := c.acks
		c.acks = map[identity.Account][]MessageID{} // whatever comes of this step
		for a, ids := range acks {
			for len(ids) > 0 {
				n := min(len(ids), MaxReceipt)
				if err := s.enqueue(pairConv(a), &a, Content{Kind: KindReceipt, ID: NewMessageID(), Refs: ids[:n]}, false); err != nil {
					return err
				}
				ids = ids[n:]
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		c.log.Error("acknowledge", "err", err)
	}
}

// markSeen remembers ciphertext that was read, and what to acknowledge when it
// comes again.
func (s *step) markSeen(e transport.Envelope, acct, wire []byte) error {
	_, err := s.Exec(`INSERT OR IGNORE INTO seen (hash, acct, wire, at) VALUES (?, ?, ?, ?)`, e.ContentHash(), acct, wire, s.unixMilli())
	return err
}

// seenBefore reports whether ciphertext was read before. A pair's message is
// then acknowledged again: the first acknowledgement may be lost.
func (s *step) seenBefore(e transport.Envelope) (bool, error) {
	var acct, wire []byte
	err := s.QueryRow(`SELECT acct, wire FROM seen WHERE hash = ?`, e.ContentHash()).Scan(&acct, &wire)
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	if err != nil || len(wire) != len(MessageID{}) {
		return true, err
	}
	account, err := identity.AccountFromBytes(acct)
	if err != nil {
		return true, err
	}
	id := MessageID(wire)
	s.then(func() {
		if s.now.Sub(s.c.reacked[id]) >= reackEvery {
			s.c.reacked[id] = s.now
			s.c.acknowledge(account, id)
		}
	})
	return true, nil
}

// errHeldFull is for a message that would have to wait for others where too
// many do. It is not acknowledged, so it comes again.
var errHeldFull = errors.New("parley: too many messages wait for an earlier one")

// inOrder shows a message once those its author sent before it are shown.
func (s *step) inOrder(conv string, dev []byte, author identity.Account, content Content) error {
	if content.Seq == 0 {
		return s.show(conv, author, content)
	}
	var next uint64
	err := s.QueryRow(`SELECT next FROM order_in WHERE conv = ? AND dev = ?`, conv, dev).Scan(&next)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	next = max(next, content.Base, 1)
	if content.Seq > next {
		if err := s.hold(conv, dev, author, content); err != nil {
			return err
		}
		return s.release(conv, dev, next)
	}
	// What is below next comes late, or again under one id, which show knows.
	if err := s.show(conv, author, content); err != nil {
		return err
	}
	return s.release(conv, dev, max(next, content.Seq+1))
}

// hold keeps a message until its turn comes.
func (s *step) hold(conv string, dev []byte, author identity.Account, content Content) error {
	b := []byte{}
	if content.Kind != 0 {
		var err error
		if b, err = content.Marshal(); err != nil {
			return err
		}
	}
	var n, size int
	if err := s.QueryRow(`SELECT COUNT(*), COALESCE(SUM(length(content)), 0) FROM held WHERE conv = ? AND dev = ?`, conv, dev).Scan(&n, &size); err != nil {
		return err
	}
	if n >= maxHeld || size+len(b) > maxHeldBytes {
		return errHeldFull
	}
	s.then(func() { wake(s.c.wakeRepair) })
	_, err := s.Exec(`INSERT OR IGNORE INTO held (conv, dev, seq, acct, content, at) VALUES (?, ?, ?, ?, ?, ?)`, conv, dev, content.Seq, author.Bytes(), b, s.unixMilli())
	return err
}

// release shows what was held and has its turn now, and writes down whose turn
// is next.
func (s *step) release(conv string, dev []byte, next uint64) error {
	for {
		var acct, b []byte
		var seq uint64
		err := s.QueryRow(`SELECT seq, acct, content FROM held WHERE conv = ? AND dev = ? AND seq <= ? ORDER BY seq LIMIT 1`, conv, dev, next).Scan(&seq, &acct, &b)
		if errors.Is(err, store.ErrNoRows) {
			break
		}
		if err != nil {
			return err
		}
		author, err := identity.AccountFromBytes(acct)
		if err != nil {
			return err
		}
		var content Content // a place without content
		if len(b) > 0 {
			if content, err = ParseContent(b); err != nil {
				return fmt.Errorf("%w: held: %w", store.ErrCorrupt, err)
			}
		}
		if err := s.show(conv, author, content); err != nil {
			return err
		}
		if _, err := s.Exec(`DELETE FROM held WHERE conv = ? AND dev = ? AND seq = ?`, conv, dev, seq); err != nil {
			return err
		}
		next = max(next, seq+1)
	}
	_, err := s.Exec(`INSERT OR REPLACE INTO order_in (conv, dev, next) VALUES (?, ?, ?)`, conv, dev, next)
	return err
}

// releaseOverdue shows messages that have waited for holdFor: what they wait
// for may never come. While the client was closed nothing could come, so it
// gives them some time, unless they have had twice as long.
func (s *step) releaseOverdue() error {
	wait := holdFor
	if s.now.Sub(s.c.opened) < holdGrace {
		wait *= 2
	}
	return s.releaseHeld(`SELECT conv, dev, MIN(seq) FROM held WHERE at <= ? GROUP BY conv, dev`, s.now.Add(-wait).UnixMilli())
}

// releaseAll shows all that is held of a conversation.
func (s *step) releaseAll(conv string) error {
	for {
		err := s.releaseHeld(`SELECT conv, dev, MIN(seq) FROM held WHERE conv = ? GROUP BY conv, dev`, conv)
		if err != nil {
			return err
		}
		var n int
		if err := s.QueryRow(`SELECT COUNT(*) FROM held WHERE conv = ?`, conv).Scan(&n); n == 0 || err != nil {
			return err
		}
	}
}

// releaseHeld releases from the first message on that a query finds of each
// author.
func (s *step) releaseHeld(query string, args ...any) error {
	type late struct {
		conv string
		dev  []byte
		seq  uint64
	}
	rows, err := s.Query(query, args...)
	if err != nil {
		return err
	}
	var all []late
	for rows.Next() {
		var l late
		if err := rows.Scan(&l.conv, &l.dev, &l.seq); err != nil {
			return err
		}
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, l := range all {
		if err := s.release(l.conv, l.dev, l.seq); err != nil {
			return err
		}
	}
	return nil
}

// show puts a message into its conversation. A place without content is empty.
func (s *step) show(conv string, author identity.Account, content Content) error {
	if content.Kind == 0 {
		return nil
	}
	if content.Expires != 0 && int64(min(content.Expires, 1<<40)) <= s.now.Unix() {
		return nil
	}
	if fresh, err := s.insertMessage(conv, author, false, Received, content); err != nil || !fresh {
		return err
	}
	return s.apply(conv, author, content)
}

// expireLoop ends what has had its time.
func (c *Client) expireLoop(ctx context.Context) {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := c.step(ctx, (*step).expire); err != nil && ctx.Err() == nil {
			c.log.Error("expire", "err", err)
		}
	}
}

// expire deletes what has had its time.
func (s *step) expire() error {
	for _, d := range []struct {
		query  string
		before time.Time
	}{
		{`DELETE FROM seen WHERE at < ?`, s.now.Add(-seenFor)},
		{`DELETE FROM firsts WHERE expires < ?`, s.now},
		{`DELETE FROM records WHERE expires < ?`, s.now},
		{`DELETE FROM messages WHERE expires > 0 AND expires < ?`, s.now},
		{`DELETE FROM parts WHERE at < ?`, s.now.Add(-prekeyLifetime)},
		{`DELETE FROM history WHERE stored < ?`, s.now.Add(-historyFor)},
	} {
		if _, err := s.Exec(d.query, d.before.UnixMilli()); err != nil {
			return err
		}
	}
	if _, err := s.Exec(`DELETE FROM history WHERE stored <= (SELECT MAX(stored) FROM (SELECT stored, COUNT(*) OVER w AS n, SUM(length(envelope)) OVER w AS bytes
		FROM history WINDOW w AS (ORDER BY stored DESC, tag ROWS UNBOUNDED PRECEDING)) WHERE n > ? OR bytes > ?)`, historyMax, historyBytes); err != nil {
		return err
	}
	for _, expire := range []func() error{s.releaseOverdue, s.loadPrekeys, s.expireSessions, func() error { return s.rest(maxResident) }, s.heal, s.expireEpochs} {
		if err := expire(); err != nil {
			return err
		}
	}
	s.then(func() {
		s.c.index.Expire(s.now)
		s.c.expectFirsts()
		clear(s.c.reacked)
		clear(s.c.found)
		for a, w := range s.c.wanted {
			if w.found != nil && s.now.Sub(w.at) > fetchFresh {
				delete(s.c.wanted, a)
			}
		}
	})
	return nil
}
