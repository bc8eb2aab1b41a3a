package parley

import (
	"errors"
	"fmt"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/ratchet"
	"github.com/parley-im/parley/transport"
)

// reader names a sender's stream of envelopes within an epoch.
type reader struct {
	class groups.Class
	leaf  groups.LeafIndex
}

// reads is how far the streams of an epoch were read: the lowest number that is
// missing, and the numbers read beyond it.
type reads map[reader]readState

type readState struct {
	next  uint64
	ahead map[uint64]bool
}

func (s *step) readsOf(cid groups.CID) (reads, error) {
	all := reads{}
	rows, err := s.Query(`SELECT class, leaf, next FROM reads WHERE cid = ?`, cid)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var r reader
		var st readState
		if err := rows.Scan(&r.class, &r.leaf, &st.next); err != nil {
			return nil, err
		}
		all[r] = st
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if rows, err = s.Query(`SELECT class, leaf, n FROM reads_ahead WHERE cid = ?`, cid); err != nil {
		return nil, err
	}
	for rows.Next() {
		var r reader
		var n uint64
		if err := rows.Scan(&r.class, &r.leaf, &n); err != nil {
			return nil, err
		}
		st := all[r]
		if st.ahead == nil {
			st.ahead = map[uint64]bool{}
		}
		st.ahead[n] = true
		all[r] = st
	}
	return all, rows.Err()
}

// expectEpoch puts the windows of an epoch into the index: of applications, and
// of handshakes if it is a head. Held: c.mu.
func (c *Client) expectEpoch(e epoch, all reads, head bool) {
	c.eachReader(e, head, func(r reader, size uint64) {
		st := all[r]
		for n := st.next; n < st.next+size; n++ {
			if !st.ahead[n] {
				c.expect(route{kind: routeEpoch, cid: e.CID(), class: r.class, leaf: r.leaf, n: n}, transport.Tag(e.Tag(r.class, r.leaf, n)))
			}
		}
		c.reading[streamKey{e.CID(), r}] = st.next
	})
}

// streamKey names a stream among all epochs.
type streamKey struct {
	cid groups.CID
	reader
}

// eachReader calls f for every stream of an epoch but the own ones.
func (c *Client) eachReader(e epoch, head bool, f func(r reader, size uint64)) {
	leaves := epochLeaves(e)
	for _, leaf := range leaves {
		if leaf == e.Self() {
			continue
		}
		f(reader{groups.ClassApplication, leaf}, window(groups.ClassApplication, len(leaves)))
		if head {
			f(reader{groups.ClassHandshake, leaf}, window(groups.ClassHandshake, len(leaves)))
		}
	}
}

func epochLeaves(e epoch) []groups.LeafIndex {
	var leaves []groups.LeafIndex
	for _, m := range e.Members() {
		leaves = append(leaves, m.Leaf)
	}
	return leaves
}

// forgetHandshakes takes the handshakes of an epoch that was left out of the
// index. Held: c.mu.
func (c *Client) forgetHandshakes(e epoch) {
	c.eachReader(e, true, func(r reader, size uint64) {
		if r.class == groups.ClassHandshake {
			c.forgetStream(e, r, size)
		}
	})
}

// forgetEpoch takes an epoch out of the index. Held: c.mu.
func (c *Client) forgetEpoch(e epoch) {
	c.eachReader(e, true, func(r reader, size uint64) { c.forgetStream(e, r, size) })
}

func (c *Client) forgetStream(e epoch, r reader, size uint64) {
	key := streamKey{e.CID(), r}
	next := c.reading[key]
	for n := next; n < next+size; n++ {
		c.index.Remove(transport.Tag(e.Tag(r.class, r.leaf, n)))
	}
	delete(c.reading, key)
}

// read notes that an envelope of a stream was read, and moves its window.
func (s *step) read(e epoch, r reader, n uint64) error {
	cid := e.CID()
	var next uint64
	err := s.QueryRow(`SELECT next FROM reads WHERE cid = ? AND class = ? AND leaf = ?`, cid, r.class, r.leaf).Scan(&next)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	if n < next {
		return nil
	}
	before := next
	if n > next {
		s.then(func() { wake(s.c.wakeRepair) }) // a gap
		if _, err := s.Exec(`INSERT OR IGNORE INTO reads_ahead (cid, class, leaf, n) VALUES (?, ?, ?, ?)`, cid, r.class, r.leaf, n); err != nil {
			return err
		}
	} else {
		for next++; ; next++ {
			res, err := s.Exec(`DELETE FROM reads_ahead WHERE cid = ? AND class = ? AND leaf = ? AND n = ?`, cid, r.class, r.leaf, next)
			if err != nil {
				return err
			}
			if res.RowsAffected == 0 {
				break
			}
		}
	}
	if _, err := s.Exec(`INSERT OR REPLACE INTO reads (cid, class, leaf, next) VALUES (?, ?, ?, ?)`, cid, r.class, r.leaf, next); err != nil {
		return err
	}
	s.then(func() {
		s.c.index.Remove(transport.Tag(e.Tag(r.class, r.leaf, n)))
		key := streamKey{cid, r}
		if _, expected := s.c.reading[key]; !expected {
			return // the epoch was left meanwhile
		}
		size := window(r.class, len(epochLeaves(e)))
		for m := before + size; m < next+size; m++ {
			s.c.expect(route{kind: routeEpoch, cid: cid, class: r.class, leaf: r.leaf, n: m}, transport.Tag(e.Tag(r.class, r.leaf, m)))
		}
		s.c.reading[key] = next
	})
	return nil
}

// errMisplaced is for an envelope whose content is not what its tag says.
var errMisplaced = errors.New("parley: envelope is under another's tag")

// receiveEpoch takes an envelope of a group's epoch.
func (s *step) receiveEpoch(r route, env transport.Envelope) error {
	past := s.c.past[r.cid]
	if past != nil {
		if r.class != groups.ClassApplication {
			s.c.dropped.stale.Add(1)
			return nil
		}
		msg, err := past.Open(env.Tag, env.Body)
		if err != nil {
			return err
		}
		app, err := past.Unprotect(epochRows{s}, msg)
		if err != nil {
			return err
		}
		return s.receiveApplication(past, past.GroupID(), r, env, app)
	}
	g := s.c.groups[s.c.heads[r.cid]]
	if g == nil {
		return ratchet.ErrDecrypt
	}
	msg, err := g.head.Open(env.Tag, env.Body)
	if err != nil {
		return err
	}
	if r.class == groups.ClassApplication {
		app, err := g.head.Unprotect(epochRows{s}, msg)
		if err != nil {
			return err
		}
		return s.receiveApplication(g.head, g.id, r, env, app)
	}
	// Whatever is wrong with it, the step is undone, and it can come again.
	if err := s.keepHistory(env); err != nil {
		return err
	}
	if err := s.markSeen(env, nil, nil); err != nil {
		return err
	}
	if err := s.read(g.head, reader{r.class, r.leaf}, r.n); err != nil {
		return err
	}
	if isHandshakePart(msg) {
		if msg, err = s.joinHandshake(g, r, msg); msg == nil || err != nil {
			return err
		}
	}
	got, err := g.head.Process(epochRows{s}, msg, groups.ProcessOptions{Verifier: s, Now: s.now})
	if err != nil {
		return err
	}
	// Nobody outside holds the envelope's key: whoever sealed it has to be the sender.
	if got.From != (groups.Sender{Type: groups.SenderMember, Index: uint32(r.leaf)}) || got.Application != nil {
		return errMisplaced
	}
	if got.Commit == nil {
		s.then(func() { s.c.proposed(g, s.now) })
		return nil
	}
	if n := len(got.Commit.Changes.Untrusted); n > 0 {
		if err := s.alert(fmt.Sprintf("%s: %d new or changed members are not vouched for yet; nothing is sent until they are", g.name, n)); err != nil {
			return err
		}
	}
	return s.merge(g, got.Commit)
}

// receiveApplication takes a message of a member.
func (s *step) receiveApplication(e epoch, id []byte, r route, env transport.Envelope, app *groups.Application) error {
	if app.Sender.Leaf != r.leaf || app.Header.N != r.n {
		return errMisplaced
	}
	acct, link, err := groups.ParseEthereum(app.Sender.Credential)
	if err != nil {
		return err
	}
	author, err := identity.AccountFromBytes(acct[:])
	if err != nil {
		return err
	}
	if err := s.keepHistory(env); err != nil {
		return err
	}
	if err := s.markSeen(env, nil, nil); err != nil {
		return err
	}
	if err := s.read(e, reader{r.class, r.leaf}, r.n); err != nil {
		return err
	}
	content, err := s.content(app.Plaintext)
	if err != nil {
		return nil // its key is used up: keep that, drop the content
	}
	if g := s.c.groups[string(id)]; content.Kind == kindLogs && g != nil {
		if err := s.learnLogs(g.head.Members(), content.Data); err != nil {
			return err
		}
		content = Content{ID: content.ID, Seq: content.Seq} // nothing is shown in its place
	}
	if content.Kind > KindApplication || content.Kind == KindReceipt {
		s.c.dropped.content.Add(1)
		content = Content{ID: content.ID, Seq: content.Seq}
	}
	if content.Seq == 0 {
		s.c.dropped.content.Add(1)
		return nil
	}
	// What the author wrote before this epoch's first message is not waited for
	// by one who has not heard the author before.
	content.Base = 0
	conv := groupConv(id)
	var known int
	if err := s.QueryRow(`SELECT COUNT(*) FROM order_in WHERE conv = ? AND dev = ?`, conv, link).Scan(&known); err != nil {
		return err
	}
	if known == 0 && content.Seq > r.n {
		content.Base = content.Seq - r.n
	}
	return s.inOrder(conv, link[:], author, content)
}
