package parley

import (
	"errors"
	"fmt"
	"strings"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// Windows of tags that the index expects of each member and epoch. Large groups
// get smaller ones, so that the index stays within windowTotal tags an epoch.
const (
	windowMost      = 64
	windowLeast     = 4
	windowTotal     = 16 << 10
	handshakeWindow = 8
)

// welcomeOverhead is what a Welcome's content has besides the Welcome itself and
// the logs, in bytes: more than it is.
const welcomeOverhead = 1 << 10

// maxInvitations is how many groups one account can have this client in.
const maxInvitations = 64

func window(class groups.Class, members int) uint64 {
	if class == groups.ClassHandshake {
		return handshakeWindow
	}
	return uint64(max(windowLeast, min(windowMost, windowTotal/max(1, members))))
}

// commit prepares a commit, moves the group on, and sends it and its Welcome:
// all in one transaction, so that a crash leaves either nothing or a commit
// that is published again.
func (s *step) commit(g *group, o groups.CommitOptions) error {
	if !g.creator {
		return ErrNotAdmin
	}
	if g.restored {
		return ErrRestored
	}
	o.Now, o.Verifier = s.now, s
	staged, err := g.head.Prepare(epochRows{s}, o)
	if err != nil {
		return err
	}
	if g.head.Size() > 1 { // else there is nobody who could follow
		if err := s.sendHandshake(g, staged.Commit); err != nil {
			return err
		}
	}
	if len(staged.Welcome) > 0 {
		logs, err := s.logsOf(staged.Next().Members())
		if err != nil {
			return err
		}
		welcome := Content{Kind: kindWelcome, Text: g.name, Type: g.purpose, Data: staged.Welcome}
		if room := MaxContent - len(staged.Welcome) - welcomeOverhead; len(logs) > 0 && room > identity.MaxLogSize {
			welcome.Logs, _ = appendMemberLogs(nil, logs, room)
		}
		for _, m := range staged.Changes.Added {
			account, err := memberAccount(m)
			if err != nil {
				return err
			}
			welcome.ID = NewMessageID()
			if err := s.enqueue(pairConv(account), &account, welcome, false); err != nil {
				return err
			}
		}
	}
	if err := s.merge(g, staged); err != nil {
		return err
	}
	moved := &group{id: g.id, head: staged.Next()}
	return s.passOnLogs(moved, staged.Changes.Added)
}

// groupEnvelope puts a sealed message into its row of the outbox, and into the
// history for those who miss it.
func (s *step) groupEnvelope(g *group, row int64, sealed *groups.Sealed) error {
	e, err := transport.NewEnvelope(transport.Tag(sealed.Tag), sealed.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	s.then(func() { wake(s.c.wakePump) })
	if err := s.keepHistory(e); err != nil {
		return err
	}
	return s.encrypted(row, nil, e.Tag, e.Body, s.c.shardOf(g.id))
}

// fillGroup encrypts what waits for a group, if all its members are who they
// say. Until then it waits: what cannot be unsaid is not said to strangers. It
// waits too while nobody can hear it, and until those who can have been asked
// for what was missed: the group may have moved on, and forgets epochs.
func (s *step) fillGroup(g *group) error {
	if len(g.untrusted) > 0 || g.restored || s.c.node == nil {
		return nil
	}
	if s.c.node.ShardPeers(s.c.shardOf(g.id)) == 0 {
		s.then(func() { s.c.caughtUp = false })
		return nil
	}
	if !s.c.caughtUp {
		s.then(func() { wake(s.c.wakeRepair) })
		return nil
	}
	waiting, err := s.unencrypted(g.conv(), false, publishBatch)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		msg, header, err := g.head.Protect(epochRows{s}, w.content)
		if err != nil {
			return err
		}
		sealed, err := g.head.Seal(groups.ClassApplication, header.N, msg, bodySize)
		if err != nil {
			return err
		}
		if err := s.groupEnvelope(g, w.id, sealed); err != nil {
			return err
		}
	}
	if len(waiting) == publishBatch {
		s.then(func() { wake(s.c.wakePump) })
	}
	return nil
}

// merge moves a group on to the epoch of a staged commit.
func (s *step) merge(g *group, staged *groups.Staged) error {
	before := g.head
	next, past, err := staged.Merge(epochRows{s})
	if errors.Is(err, groups.ErrRemoved) {
		var leaving int
		if err := s.QueryRow(`SELECT COUNT(*) FROM intents WHERE grp = ? AND kind = ?`, g.id, intentLeave).Scan(&leaving); err != nil {
			return err
		}
		if leaving > 0 {
			return s.gone(g, groupLeft)
		}
		return s.gone(g, groupRemoved)
	}
	if err != nil {
		return err
	}
	b := past.Marshal()
	sealed, err := s.SealKey(epochScope(past.CID()), pastPlace(past.CID()), b)
	b.Erase()
	if err != nil {
		return err
	}
	if _, err := s.Exec(`UPDATE epochs SET sealed = ?, ended = ? WHERE cid = ?`, sealed, s.unixMilli(), past.CID()); err != nil {
		return err
	}
	if _, err := s.Exec(`DELETE FROM handshake_parts WHERE cid = ?`, past.CID()); err != nil {
		return err
	}
	if err := s.DropScope(headScope(before.CID())); err != nil {
		return err
	}
	moved := &group{id: g.id, name: g.name, purpose: g.purpose, creator: g.creator, inviter: g.inviter, restored: g.restored, head: next}
	if err := s.saveHead(moved); err != nil {
		return err
	}
	if err := s.judge(moved); err != nil {
		return err
	}
	s.then(func() {
		delete(s.c.heads, before.CID())
		s.c.setGroup(moved)
		s.c.past[past.CID()] = past
		s.c.forgetHandshakes(before)
		s.c.expectEpoch(next, nil, true)
		wake(s.c.wakePump)
		wake(s.c.wakeRepair)
	})
	if err := s.tellChanges(moved, staged.Changes); err != nil {
		return err
	}
	for _, m := range staged.Changes.Updated {
		if m.Leaf == next.Self() {
			if _, err := s.Exec(`DELETE FROM intents WHERE grp = ? AND kind = ?`, g.id, intentUpdate); err != nil {
				return err
			}
		}
	}
	if err := s.expirePast(g.id); err != nil {
		return err
	}
	if g.creator {
		return nil
	}
	return s.propose(moved)
}

// tellChanges makes the events of a commit.
func (s *step) tellChanges(g *group, c groups.Changes) error {
	tell := func(change string, members []groups.Member) error {
		if len(members) == 0 {
			return nil
		}
		e := Event{Kind: EventGroup, Group: g.ref(), Change: change, Epoch: g.head.Epoch()}
		for _, m := range members {
			account, err := memberAccount(m)
			if err != nil {
				return err
			}
			e.Peers = append(e.Peers, s.c.peer(s.Tx, account))
		}
		return s.emit(e)
	}
	if err := tell("added", c.Added); err != nil {
		return err
	}
	if err := tell("removed", c.Removed); err != nil {
		return err
	}
	updated := c.Updated
	if len(c.Added)+len(c.Removed)+len(updated) == 0 {
		// A commit renews its author's keys, whatever else it does; that is news
		// only when it does nothing else.
		updated = []groups.Member{c.Committer}
	}
	return tell("updated", updated)
}

// gone ends the client's part in a group and erases its keys.
func (s *step) gone(g *group, status string) error {
	if err := s.forgetGroup(g, status); err != nil {
		return err
	}
	cid := g.head.CID()
	if err := s.DropScope(headScope(cid)); err != nil {
		return err
	}
	s.then(func() {
		delete(s.c.heads, cid)
		delete(s.c.groups, string(g.id))
		delete(s.c.proposals, string(g.id))
		s.c.forgetEpoch(g.head)
	})
	change := "gone"
	if status == groupLeft {
		change = "left"
	}
	return s.emit(Event{Kind: EventGroup, Group: g.ref(), Change: change, Epoch: g.head.Epoch(), Peers: []Peer{s.c.peer(s.Tx, s.c.me.account)}})
}

// forgetGroup deletes what is on disk of a group but what was said in it.
func (s *step) forgetGroup(g *group, status string) error {
	rows, err := s.Query(`SELECT cid FROM epochs WHERE grp = ?`, g.id)
	if err != nil {
		return err
	}
	var cids []groups.CID
	for rows.Next() {
		var c groups.CID
		if err := rows.Scan(&c); err != nil {
			return err
		}
		cids = append(cids, c)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, c := range cids {
		if err := s.dropEpoch(c); err != nil {
			return err
		}
	}
	// What is held waits for what cannot come any more.
	if err := s.releaseAll(g.conv()); err != nil {
		return err
	}
	for _, q := range []string{`DELETE FROM intents WHERE grp = ?`, `DELETE FROM epochs WHERE grp = ?`} {
		if _, err := s.Exec(q, g.id); err != nil {
			return err
		}
	}
	if _, err := s.Exec(`UPDATE groups SET status = ?, sealed = NULL WHERE id = ?`, status, g.id); err != nil {
		return err
	}
	// What was not encrypted can never be, and its places are free again, as
	// members would wait for them; what was, may still be heard. What others say
	// until this client is a member again is not waited for.
	for _, q := range []string{`UPDATE order_out SET next = (SELECT MIN(seq) FROM outbox WHERE conv = ?1 AND tag IS NULL AND seq > 0)
		WHERE conv = ?1 AND EXISTS (SELECT 1 FROM outbox WHERE conv = ?1 AND tag IS NULL AND seq > 0)`, `DELETE FROM outbox WHERE conv = ? AND tag IS NULL`, `DELETE FROM order_in WHERE conv = ?`} {
		if _, err := s.Exec(q, g.conv()); err != nil {
			return err
		}
	}
	return nil
}

// dropEpoch erases everything of an epoch.
func (s *step) dropEpoch(cid groups.CID) error {
	for _, q := range []string{
		`DELETE FROM epoch_rows WHERE cid = ?`, `DELETE FROM reads WHERE cid = ?`,
		`DELETE FROM reads_ahead WHERE cid = ?`, `DELETE FROM handshake_parts WHERE cid = ?`, `DELETE FROM epochs WHERE cid = ? AND sealed IS NOT NULL`,
	} {
		if _, err := s.Exec(q, cid); err != nil {
			return err
		}
	}
	s.then(func() {
		if past := s.c.past[cid]; past != nil {
			s.c.forgetEpoch(past)
			delete(s.c.past, cid)
		}
	})
	if s.HasScope(epochScope(cid)) {
		return s.DropScope(epochScope(cid))
	}
	return nil
}

// expirePast drops the past epochs of a group that are too many or too old.
func (s *step) expirePast(id []byte) error {
	rows, err := s.Query(`SELECT cid FROM (SELECT cid, ended, ROW_NUMBER() OVER (ORDER BY number DESC) AS nth FROM epochs WHERE grp = ? AND sealed IS NOT NULL)
		WHERE nth > ? OR ended < ?`, id, pastEpochs, s.now.Add(-pastFor).UnixMilli())
	if err != nil {
		return err
	}
	var cids []groups.CID
	for rows.Next() {
		var cid groups.CID
		if err := rows.Scan(&cid); err != nil {
			return err
		}
		cids = append(cids, cid)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, cid := range cids {
		if err := s.dropEpoch(cid); err != nil {
			return err
		}
	}
	return nil
}

// expireEpochs drops what is too old in every group.
func (s *step) expireEpochs() error {
	for id := range s.c.groups {
		if err := s.expirePast([]byte(id)); err != nil {
			return err
		}
	}
	return nil
}

// expireSessions drops archived sessions that nobody used for a while, and
// skipped keys past their time.
func (s *step) expireSessions() error {
	if err := s.dropSessions(`SELECT id FROM sessions WHERE archived < ?`, s.now.Add(-archiveFor).UnixMilli()); err != nil {
		return err
	}
	return s.dropSkipped(`SELECT session, tag FROM skipped WHERE created < ?`, s.now.Add(-ratchet.SkippedLifetime).UnixMilli())
}

// receiveWelcome enters a group that a contact has added this device to.
func (s *step) receiveWelcome(from identity.Account, content Content) error {
	joined, err := s.joinGroup(content.Data)
	if err != nil {
		if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFull) {
			return err
		}
		s.c.dropped.content.Add(1)
		s.c.log.Debug("welcome", "err", err)
		return nil
	}
	head := joined.Group
	g := &group{id: head.GroupID(), name: content.Text, purpose: content.Type, inviter: from, head: head}
	// Who sent it must be who made it, and a group's creator is its admin.
	inviter, err := memberAccount(joined.Inviter)
	if err != nil || inviter != from || !joined.Inviter.Admin || checkGroupName(g.name) != nil || checkPurpose(g.purpose) != nil || len(g.id) != groupIDSize {
		s.c.dropped.content.Add(1)
		return s.dropEpoch(head.CID())
	}
	if ok, err := s.mayInvite(from, g.id); !ok || err != nil {
		s.c.dropped.content.Add(1)
		return errors.Join(err, s.dropEpoch(head.CID()))
	}
	if g.name, err = s.freeName(g.name, g.id); err != nil {
		return err
	}
	if err := s.saveHead(g); err != nil {
		return err
	}
	if err := s.learnLogs(head.Members(), content.Logs); err != nil {
		return err
	}
	if err := s.judge(g); err != nil {
		return err
	}
	s.then(func() {
		s.c.setGroup(g)
		s.c.expectEpoch(head, nil, true)
		wake(s.c.wakeRepair)
	})
	return s.emit(Event{Kind: EventGroup, Group: g.ref(), Change: "joined", Epoch: head.Epoch(), Peers: []Peer{s.c.peer(s.Tx, from)}})
}

// mayInvite reports whether an account may bring this client into a group: not
// into too many, and into one that it was in only if it is the account that
// brought it there before. Who else was in that group knows its id too.
func (s *step) mayInvite(from identity.Account, id []byte) (bool, error) {
	var others, active int
	err := s.QueryRow(`SELECT COUNT(*) FILTER (WHERE id = ?1 AND inviter <> ?2), COUNT(*) FILTER (WHERE inviter = ?2 AND status = ?3) FROM groups`,
		id, from.Bytes(), groupActive).Scan(&others, &active)
	return others == 0 && active < maxInvitations, err
}

// joinGroup opens a Welcome with the key package it is for.
func (s *step) joinGroup(welcome []byte) (*groups.Joined, error) {
	refs, err := groups.WelcomeRefs(welcome)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		var id uint32
		var kind int
		err := s.QueryRow(`SELECT id, kind FROM prekeys WHERE ref = ?`, ref).Scan(&id, &kind)
		if errors.Is(err, store.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := s.prekey(id, kind)
		if err != nil {
			return nil, err
		}
		defer p.private.Erase()
		kp, err := groups.ParseKeyPackage(p.public)
		if err != nil {
			return nil, fmt.Errorf("%w: key package: %w", store.ErrCorrupt, err)
		}
		private, err := groups.ParseKeyPackagePrivate(kp.Suite, p.private)
		if err != nil {
			return nil, fmt.Errorf("%w: key package: %w", store.ErrCorrupt, err)
		}
		staged := newStagedRows(epochRows{s})
		joined, err := groups.Join(staged, welcome, groups.JoinOptions{KeyPackage: kp, Private: private, Signer: s.c.signer()})
		if err != nil {
			return nil, err
		}
		// A Welcome never replaces a group that is alive, nor an epoch.
		head := joined.Group
		if s.c.groups[string(head.GroupID())] != nil || s.HasScope(epochScope(head.CID())) {
			return nil, ErrMember
		}
		if err := staged.flush(); err != nil {
			return nil, err
		}
		if !kp.LastResort() {
			if err := s.usePrekey(id); err != nil {
				return nil, err
			}
		}
		return joined, nil
	}
	return nil, groups.ErrWelcomeNotForUs
}

// freeName returns a name for a group that none of the active ones has.
func (s *step) freeName(name string, id []byte) (string, error) {
	var n int
	err := s.QueryRow(`SELECT COUNT(*) FROM groups WHERE name = ? AND status = ? AND id <> ?`, name, groupActive, id).Scan(&n)
	if n > 0 {
		suffix := fmt.Sprintf("-%x", id[:4])
		name = strings.ToValidUTF8(name[:min(len(name), maxGroupName-len(suffix))], "") + suffix
	}
	return name, err
}

// stagedRows keeps the rows of a group that is about to be joined out of the
// database until it is known that it may be.
type stagedRows struct {
	groups.MemoryRows
	to epochRows
}

func newStagedRows(to epochRows) stagedRows { return stagedRows{groups.MemoryRows{}, to} }

func (r stagedRows) flush() error {
	for cid, rows := range r.MemoryRows {
		for key, value := range rows {
			if err := r.to.Put(cid, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}
