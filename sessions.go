package parley

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// Sessions are in memory while they are used: at most maxResident of them, those
// used last, and what one minute brings above that. The others are idle. Their
// state is in the database alone, with the tags of the next idleWindow messages of
// each of their chains; an envelope under one of them wakes the session.
const (
	maxResident = 256
	// pairWindow is how many messages of a chain the index expects.
	pairWindow = 128
	idleWindow = 16
)

// resident is a session in memory.
type resident struct {
	*ratchet.Session
	used time.Time
}

// session returns a session by its id, as this step has left it so far: from
// memory or, if it was idle, from the database; nil if there is none.
func (s *step) session(id ratchet.ID) (*ratchet.Session, error) {
	if session := s.live[id]; session != nil {
		return session, nil
	}
	if r := s.c.sessions[id]; r != nil {
		r.used = s.now
		return r.Session, nil
	}
	var sealed []byte
	err := s.QueryRow(`SELECT sealed FROM sessions WHERE id = ?`, id).Scan(&sealed)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	session, err := unsealSession(s.Tx, id, sealed)
	if errors.Is(err, ratchet.ErrVersion) {
		return nil, s.dropSession(id)
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Exec(`UPDATE sessions SET idle = 0 WHERE id = ?`, id); err != nil {
		return nil, err
	}
	if _, err := s.Exec(`DELETE FROM idle_tags WHERE session = ?`, id); err != nil {
		return nil, err
	}
	s.keepLive(session)
	s.then(func() { s.c.setSession(nil, session, s.now) })
	return session, s.expectSkipped(`SELECT session, tag FROM skipped WHERE session = ?`, id)
}

// keepLive notes a session's state for the rest of the step.
func (s *step) keepLive(session *ratchet.Session) {
	if s.live == nil {
		s.live = map[ratchet.ID]*ratchet.Session{}
	}
	s.live[session.ID()] = session
}

// sessionIDs returns the ids that a query finds.
func (s *step) sessionIDs(query string, args ...any) (ids []ratchet.ID, err error) {
	rows, err := s.Query(query, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var id ratchet.ID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// forget makes a session that is dropped be in memory no more.
func (s *step) forget(id ratchet.ID) {
	delete(s.live, id)
	s.then(func() { s.c.dismiss(id) })
}

// unsealSession reads a stored session. It returns [ratchet.ErrVersion] for one of
// another version of this program: it is dropped, and another begun in its place.
func unsealSession(tx *store.Tx, id ratchet.ID, sealed []byte) (*ratchet.Session, error) {
	b, err := tx.UnsealKey(sessionScope(id), sessionPlace(id), sealed)
	if err != nil {
		return nil, err
	}
	defer b.Erase()
	session, err := ratchet.ParseSession(b.Bytes())
	if err != nil && !errors.Is(err, ratchet.ErrVersion) {
		return nil, fmt.Errorf("%w: session: %w", store.ErrCorrupt, err)
	}
	return session, err
}

// loadSessions reads the sessions that were in memory last, and what is skipped
// in them, and fills the index. Those of another version are dropped.
func (s *step) loadSessions() error {
	rows, err := s.Query(`SELECT id, sealed FROM sessions WHERE idle = 0`)
	if err != nil {
		return err
	}
	var foreign []ratchet.ID
	for rows.Next() {
		var id ratchet.ID
		var sealed []byte
		if err := rows.Scan(&id, &sealed); err != nil {
			return err
		}
		session, err := unsealSession(s.Tx, id, sealed)
		if errors.Is(err, ratchet.ErrVersion) {
			foreign = append(foreign, id)
			continue
		}
		if err != nil {
			return err
		}
		s.then(func() { s.c.setSession(nil, session, s.now) })
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range foreign {
		if err := s.dropSession(id); err != nil {
			return err
		}
	}
	if err := s.expectSkipped(`SELECT session, tag FROM skipped WHERE session IN (SELECT id FROM sessions WHERE idle = 0)`); err != nil {
		return err
	}
	s.then(s.c.expectFirsts)
	return nil
}

// expectSkipped makes the index expect the skipped messages that a query finds.
func (s *step) expectSkipped(query string, args ...any) error {
	rows, err := s.Query(query, args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		var id ratchet.ID
		var tag ratchet.Tag
		if err := rows.Scan(&id, &tag); err != nil {
			return err
		}
		s.then(func() { s.c.expect(route{kind: routeSession, session: id}, transport.Tag(tag)) })
	}
	return rows.Err()
}

// setSession puts a session into memory and its tags into the index, in place
// of the state it had before. Held: c.mu.
func (c *Client) setSession(old, session *ratchet.Session, now time.Time) {
	id := session.ID()
	c.sessions[id] = &resident{session, now}
	var add, drop []ratchet.TagEntry
	if old == nil {
		add = session.ReceiveTags(pairWindow)
	} else {
		add, drop = session.TagDiff(old, pairWindow)
	}
	for _, t := range drop {
		c.index.Remove(transport.Tag(t.Tag))
	}
	for _, t := range add {
		c.expect(route{kind: routeSession, session: id}, transport.Tag(t.Tag))
	}
}

// dismiss takes a session out of memory and its tags out of the index. Held: c.mu.
func (c *Client) dismiss(id ratchet.ID) {
	session := c.sessions[id]
	if session == nil {
		return
	}
	for _, t := range session.ReceiveTags(pairWindow) {
		c.index.Remove(transport.Tag(t.Tag))
	}
	session.Erase()
	delete(c.sessions, id)
}

// rest makes the sessions idle that were used least recently, as far as there are
// more than most in memory.
func (s *step) rest(most int) error {
	excess := len(s.c.sessions) - most
	if excess <= 0 {
		return nil
	}
	ids := slices.SortedFunc(maps.Keys(s.c.sessions), func(a, b ratchet.ID) int {
		return cmp.Or(s.c.sessions[a].used.Compare(s.c.sessions[b].used), slices.Compare(a[:], b[:]))
	})
	for _, id := range ids[:excess] {
		if _, err := s.Exec(`UPDATE sessions SET idle = 1 WHERE id = ?`, id); err != nil {
			return err
		}
		for _, t := range s.c.sessions[id].ReceiveTags(idleWindow) {
			if _, err := s.Exec(`INSERT OR REPLACE INTO idle_tags (tag, session) VALUES (?, ?)`, t.Tag, id); err != nil {
				return err
			}
		}
		rows, err := s.Query(`SELECT tag FROM skipped WHERE session = ?`, id)
		if err != nil {
			return err
		}
		for rows.Next() {
			var tag ratchet.Tag
			if err := rows.Scan(&tag); err != nil {
				return err
			}
			s.then(func() { s.c.index.Remove(transport.Tag(tag)) })
		}
		if err := rows.Err(); err != nil {
			return err
		}
		s.then(func() { s.c.dismiss(id) })
	}
	return nil
}

// idleOwner returns the idle session that expects a tag.
func (c *Client) idleOwner(ctx context.Context, tag transport.Tag) (r route, found bool) {
	err := c.view(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT session FROM idle_tags WHERE tag = ?1
			UNION ALL SELECT k.session FROM skipped k JOIN sessions x ON x.id = k.session WHERE k.tag = ?1 AND x.idle = 1 LIMIT 1`, tag).Scan(&r.session)
	})
	r.kind = routeSession
	return r, err == nil
}

// tryIdle reports whether an idle session can open an envelope.
func (c *Client) tryIdle(ctx context.Context, in ratchet.Incoming, now time.Time) (opens bool, err error) {
	err = c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id, sealed FROM sessions WHERE idle = 1`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && !opens {
			var id ratchet.ID
			var sealed []byte
			if err := rows.Scan(&id, &sealed); err != nil {
				return err
			}
			session, err := unsealSession(tx, id, sealed)
			if errors.Is(err, ratchet.ErrVersion) {
				continue
			}
			if err != nil {
				return err
			}
			opens = canOpen(session, in, now)
			session.Erase()
		}
		return rows.Err()
	})
	return opens, err
}

func canOpen(session *ratchet.Session, in ratchet.Incoming, now time.Time) bool {
	_, err := session.Decrypt(in, now)
	return err == nil || errors.Is(err, ratchet.ErrReplay)
}
