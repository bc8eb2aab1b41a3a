package parley

import (
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
)

// Intents: what a member wants and the creator has to commit.
const (
	intentUpdate = "update"
	intentLeave  = "leave"
)

const (
	// gatherFor is how long proposals gather before they are committed together.
	gatherFor = 500 * time.Millisecond
	// proposeEvery is how often what one member proposes is by itself a reason to
	// commit, once for leaving and once for all else. In between it waits for
	// another reason: each epoch costs every member work, and past epochs are
	// kept by their number.
	proposeEvery = 10 * time.Minute
)

// reason is what made the creator's client commit.
type reason struct {
	account identity.Account
	leaving bool
}

// proposals is what the creator's client knows of those of a group. Guarded by
// Client.mu.
type proposals struct {
	due   time.Time            // when to look at what is pending; zero for nothing
	heard map[reason]time.Time // when each was last a reason to commit
}

// proposed notes that something may be pending in a group of this client's.
// Held: c.mu.
func (c *Client) proposed(g *group, now time.Time) {
	if !g.creator {
		return
	}
	p := c.proposals[string(g.id)]
	if p == nil {
		p = &proposals{heard: map[reason]time.Time{}}
		c.proposals[string(g.id)] = p
	}
	if due := now.Add(gatherFor); p.due.IsZero() || due.Before(p.due) {
		p.due = due
	}
	wake(c.wakePump)
}

// nextProposals returns when the next proposals are to be looked at, zero if
// there are none.
func (c *Client) nextProposals() (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.proposals {
		if !p.due.IsZero() && (next.IsZero() || p.due.Before(next)) {
			next = p.due
		}
	}
	return next
}

// intend remembers what this member wants, and proposes it.
func (s *step) intend(g *group, kind string) error {
	if g.restored {
		return ErrRestored
	}
	if _, err := s.Exec(`INSERT INTO intents (grp, kind, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, g.id, kind, s.unixMilli()); err != nil {
		return err
	}
	return s.propose(g)
}

// propose proposes, in this epoch, whatever is intended and was not proposed
// in it yet.
func (s *step) propose(g *group) error {
	if g.restored {
		return nil
	}
	cid := g.head.CID()
	rows, err := s.Query(`SELECT kind FROM intents WHERE grp = ? AND (cid IS NULL OR cid <> ?)`, g.id, cid)
	if err != nil {
		return err
	}
	var kinds []string
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			return err
		}
		kinds = append(kinds, kind)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, kind := range kinds {
		var msg []byte
		if kind == intentLeave {
			msg, err = g.head.ProposeRemove(epochRows{s}, g.head.Self())
		} else {
			msg, err = g.head.ProposeUpdate(epochRows{s}, groups.UpdateOptions{})
		}
		if err != nil {
			return err
		}
		if err := s.sendHandshake(g, msg); err != nil {
			return err
		}
		if _, err := s.Exec(`UPDATE intents SET cid = ? WHERE grp = ? AND kind = ?`, cid, g.id, kind); err != nil {
			return err
		}
	}
	return nil
}

// commitProposals commits what others have proposed, all together, if any of it
// is a reason to.
func (s *step) commitProposals(g *group) error {
	p := s.c.proposals[string(g.id)]
	pending, err := g.head.Pending(epochRows{s})
	if err != nil || p == nil {
		return err
	}
	if len(pending) == 0 || g.restored {
		s.then(func() { p.due = time.Time{} })
		return nil
	}
	reasons := map[reason]bool{}
	var due time.Time
	for _, pr := range pending {
		m, ok := g.head.Member(groups.LeafIndex(pr.Sender.Index)) // nobody outside gets here
		if !ok {
			continue
		}
		account, err := memberAccount(m)
		if err != nil {
			return err
		}
		r := reason{account, pr.Proposal.Type == groups.ProposalRemove && pr.Proposal.Remove == m.Leaf}
		reasons[r] = true
		if at := p.heard[r].Add(proposeEvery); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	if due.After(s.now) {
		s.then(func() { p.due = due })
		return nil
	}
	p.due = s.now.Add(retrySlowest) // unless it succeeds
	s.then(func() {
		p.due = time.Time{}
		for r, at := range p.heard {
			if s.now.Sub(at) >= proposeEvery {
				delete(p.heard, r)
			}
		}
		for r := range reasons {
			p.heard[r] = s.now
		}
	})
	return s.commit(g, groups.CommitOptions{})
}
