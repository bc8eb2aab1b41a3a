package parley

import (
	"fmt"
	"time"

	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
)

const (
	// healAfter says when a session is suspected to be lost on the other side:
	// something that was sent in it is not acknowledged, and the device was heard
	// from so much later. It is given up if that is still so after healPatience.
	healAfter    = 5 * time.Minute
	healPatience = 2 * time.Minute
	// renewEvery is how often the record of an account is looked up again that
	// does not acknowledge: it may have another device by now.
	renewEvery = time.Hour
	// healEvery is how long a session is tried at least.
	healEvery = time.Hour
	// answerFor is how long a session is used that was never answered. It is
	// well below prekeyLifetime, after which the other side could not begin it.
	answerFor = bundleLifetime
	// maxSessions is how many sessions are kept with one device.
	maxSessions = 8
)

// suspect is a session that may be lost on the other side.
type suspect struct {
	row   int64 // the oldest in the outbox that is not acknowledged
	since time.Time
}

// heal lets go of sessions that the other side seems not to have any more: it
// was put back to an earlier state, or a prekey had expired. What was not
// acknowledged in them is encrypted again, on the session in which the device
// was heard from last, or a new one; a receiver who has it after all knows it
// by its id.
func (s *step) heal() error {
	rows, err := s.Query(`SELECT x.id, x.acct, x.dev, MIN(o.id), x.own = 1 AND x.heard = 0 AND x.created < ?1 FROM sessions x JOIN outbox o ON o.session = x.id AND o.acked = 1
		WHERE x.archived IS NULL AND (x.own = 1 AND x.heard = 0 AND x.created < ?1
			OR x.created < ?2 AND o.at + ?3 < (SELECT MAX(heard) FROM sessions WHERE acct = x.acct AND dev = x.dev)) GROUP BY x.id`,
		s.now.Add(-answerFor).UnixMilli(), s.now.Add(-healEvery).UnixMilli(), healAfter.Milliseconds())
	if err != nil {
		return err
	}
	type lost struct {
		id        ratchet.ID
		acct, dev []byte
	}
	var all []lost
	suspects := map[ratchet.ID]suspect{}
	for rows.Next() {
		var l lost
		var row int64
		var expired bool
		if err := rows.Scan(&l.id, &l.acct, &l.dev, &row, &expired); err != nil {
			return err
		}
		before, known := s.c.suspects[l.id]
		switch {
		case expired || known && before.row == row && s.now.Sub(before.since) >= healPatience:
			all = append(all, l)
		case known && before.row == row:
			suspects[l.id] = before
		default:
			suspects[l.id] = suspect{row, s.now}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, l := range all {
		if _, err := s.Exec(`UPDATE sessions SET archived = ? WHERE id = ?`, s.unixMilli(), l.id); err != nil {
			return err
		}
		if _, err := s.Exec(`UPDATE sessions SET archived = NULL WHERE id = (SELECT id FROM sessions
			WHERE acct = ?1 AND dev = ?2 AND id <> ?3 AND heard > (SELECT heard FROM sessions WHERE id = ?3) ORDER BY heard DESC LIMIT 1)`, l.acct, l.dev, l.id); err != nil {
			return err
		}
		if err := s.requeue(l.id); err != nil {
			return err
		}
	}
	s.then(func() { s.c.suspects = suspects })
	return s.renew()
}

// renew looks up the records of accounts that have not acknowledged for long. One
// that has a newer device now gets there what was meant for the old one.
func (s *step) renew() error {
	rows, err := s.Query(`SELECT DISTINCT acct FROM outbox WHERE acct IS NOT NULL AND acked = 1 AND tag IS NOT NULL AND at < ?`, s.now.Add(-healAfter).UnixMilli())
	if err != nil {
		return err
	}
	var overdue []identity.Account
	for rows.Next() {
		var acct []byte
		if err := rows.Scan(&acct); err != nil {
			return err
		}
		account, err := identity.AccountFromBytes(acct)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		overdue = append(overdue, account)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	renewed := map[identity.Account]time.Time{}
	for _, a := range overdue {
		if w := s.c.wanted[a]; w != nil && w.found != nil {
			if err := s.supersede(a, w.found.Device.Seq); err != nil {
				return err
			}
		}
		renewed[a] = s.c.renewed[a]
		if s.now.Sub(renewed[a]) >= renewEvery {
			renewed[a] = s.now
			s.then(func() {
				if s.c.wanted[a] == nil {
					s.c.wantRecord(a).renewal = true
				}
			})
		}
	}
	s.then(func() { s.c.renewed = renewed })
	return nil
}

// supersede lets go of an account's sessions with devices older than the one that
// was authorised by the link of a seq, and has what was not acknowledged in them
// encrypted for that one.
func (s *step) supersede(a identity.Account, seq uint64) error {
	log, err := readLog(s.Tx, a)
	if err != nil || log == nil {
		return err
	}
	rows, err := s.Query(`SELECT id, dev FROM sessions WHERE acct = ?`, a.Bytes())
	if err != nil {
		return err
	}
	var old []ratchet.ID
	for rows.Next() {
		var id ratchet.ID
		var dev [identity.DigestSize]byte
		if err := rows.Scan(&id, &dev); err != nil {
			return err
		}
		if d, err := log.Device(dev, s.now); err != nil || d.Seq < seq {
			old = append(old, id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range old {
		if _, err := s.Exec(`UPDATE sessions SET archived = ? WHERE id = ? AND archived IS NULL`, s.unixMilli(), id); err != nil {
			return err
		}
		if err := s.requeue(id); err != nil {
			return err
		}
	}
	return nil
}

// requeue makes what waits to be acknowledged in a session wait for another.
func (s *step) requeue(id ratchet.ID) error {
	if _, err := s.Exec(`DELETE FROM outbox WHERE session = ? AND acked = 0`, id); err != nil {
		return err
	}
	_, err := s.Exec(`UPDATE outbox SET session = NULL, tag = NULL, body = NULL, attempts = 0, due = 0 WHERE session = ?`, id)
	s.then(func() { wake(s.c.wakePump) })
	return err
}

// dropSessions drops the sessions that a query finds.
func (s *step) dropSessions(query string, args ...any) error {
	ids, err := s.sessionIDs(query, args...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.dropSession(id); err != nil {
			return err
		}
	}
	return nil
}
