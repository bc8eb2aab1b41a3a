package parley

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/store"
	"github.com/parley-im/parley/transport"
)

const (
	// maxGroupName bounds a group's name, in bytes.
	maxGroupName = 64
	// groupIDSize is the size of a group's id, in bytes. It is known to members
	// only.
	groupIDSize = 32
	// A past epoch opens late messages for pastFor, and pastEpochs of them are
	// kept per group.
	pastFor    = 24 * time.Hour
	pastEpochs = 16
)

// The statuses of a group.
const (
	groupActive  = "active"
	groupRemoved = "removed"
	groupLeft    = "left"
)

// group is an active group in memory. Guarded by Client.mu.
type group struct {
	id        []byte
	name      string
	purpose   string
	creator   bool
	inviter   identity.Account // the account that made it, or sent the Welcome
	restored  bool             // nothing is sent: see ErrRestored
	head      *groups.Group
	untrusted []identity.Account // members whose device nobody vouches for yet
}

func (g *group) conv() string { return groupConv(g.id) }

func (g *group) ref() *GroupRef { return &GroupRef{ID: hex.EncodeToString(g.id), Name: g.name} }

func headScope(cid groups.CID) string  { return "head:" + hex.EncodeToString(cid[:]) }
func epochScope(cid groups.CID) string { return "epoch:" + hex.EncodeToString(cid[:]) }
func headPlace(id []byte) string       { return "groups/" + hex.EncodeToString(id) }
func pastPlace(cid groups.CID) string  { return "epochs/" + hex.EncodeToString(cid[:]) }

// epochRows are the groups.Rows of a step, sealed under the key of their epoch.
type epochRows struct{ s *step }

func rowPlace(cid groups.CID, key groups.RowKey) string {
	return "epoch_rows/" + hex.EncodeToString(cid[:]) + "/" + hex.EncodeToString([]byte(key))
}

// Get returns a row, or nil if there is none.
func (r epochRows) Get(cid groups.CID, key groups.RowKey) ([]byte, error) {
	var sealed []byte
	err := r.s.QueryRow(`SELECT sealed FROM epoch_rows WHERE cid = ? AND key = ?`, cid, []byte(key)).Scan(&sealed)
	if errors.Is(err, store.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.s.Unseal(epochScope(cid), rowPlace(cid, key), sealed)
}

// Put writes a row, and makes the epoch's key with its first.
func (r epochRows) Put(cid groups.CID, key groups.RowKey, value []byte) error {
	scope := epochScope(cid)
	if !r.s.HasScope(scope) {
		if err := r.s.CreateScope(scope); err != nil {
			return err
		}
	}
	sealed, err := r.s.Seal(scope, rowPlace(cid, key), value)
	if err != nil {
		return err
	}
	_, err = r.s.Exec(`INSERT OR REPLACE INTO epoch_rows (cid, key, sealed) VALUES (?, ?, ?)`, cid, []byte(key), sealed)
	return err
}

// Delete removes a row.
func (r epochRows) Delete(cid groups.CID, key groups.RowKey) error {
	_, err := r.s.Exec(`DELETE FROM epoch_rows WHERE cid = ? AND key = ?`, cid, []byte(key))
	return err
}

// loadGroups reads the active groups and the epochs they have left.
func (s *step) loadGroups() error {
	rows, err := s.Query(`SELECT id, name, purpose, creator, inviter, restored, head, sealed FROM groups WHERE status = ?`, groupActive)
	if err != nil {
		return err
	}
	var lost []*group
	for rows.Next() {
		g := new(group)
		var cid groups.CID
		var sealed []byte
		var inviter []byte
		if err := rows.Scan(&g.id, &g.name, &g.purpose, &g.creator, &inviter, &g.restored, &cid, &sealed); err != nil {
			return err
		}
		if g.inviter, err = identity.AccountFromBytes(inviter); err != nil {
			return fmt.Errorf("%w: group: %w", store.ErrCorrupt, err)
		}
		b, err := s.UnsealKey(headScope(cid), headPlace(g.id), sealed)
		if errors.Is(err, store.ErrNoScope) && g.restored {
			lost = append(lost, g) // the group had moved on, and the keys are gone
			continue
		}
		if err != nil {
			return err
		}
		g.head, err = groups.Unmarshal(b, s.c.signer())
		b.Erase()
		if err != nil {
			return fmt.Errorf("%w: group: %w", store.ErrCorrupt, err)
		}
		if err := s.judge(g); err != nil {
			return err
		}
		reads, err := s.readsOf(cid)
		if err != nil {
			return err
		}
		s.then(func() {
			s.c.setGroup(g)
			s.c.proposed(g, s.now)
			s.c.expectEpoch(g.head, reads, true)
		})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, g := range lost {
		if err := s.forgetGroup(g, groupLeft); err != nil {
			return err
		}
	}
	if rows, err = s.Query(`SELECT cid, sealed FROM epochs WHERE sealed IS NOT NULL`); err != nil {
		return err
	}
	for rows.Next() {
		var cid groups.CID
		var sealed []byte
		if err := rows.Scan(&cid, &sealed); err != nil {
			return err
		}
		if !s.HasScope(epochScope(cid)) {
			continue // put back to a state from before it was dropped
		}
		b, err := s.UnsealKey(epochScope(cid), pastPlace(cid), sealed)
		if err != nil {
			return err
		}
		past, err := groups.UnmarshalPast(b)
		b.Erase()
		if err != nil {
			return fmt.Errorf("%w: past epoch: %w", store.ErrCorrupt, err)
		}
		reads, err := s.readsOf(cid)
		if err != nil {
			return err
		}
		s.then(func() {
			s.c.past[cid] = past
			s.c.expectEpoch(past, reads, false)
		})
	}
	return rows.Err()
}

// setGroup puts a group into memory, in place of its epoch before. Held: c.mu.
func (c *Client) setGroup(g *group) {
	c.groups[string(g.id)] = g
	c.heads[g.head.CID()] = string(g.id)
}

// saveHead writes the state of a group's head under a key of its own, which is
// dropped when the group moves on.
func (s *step) saveHead(g *group) error {
	cid := g.head.CID()
	scope := headScope(cid)
	if err := s.CreateScope(scope); err != nil {
		return err
	}
	b := g.head.Marshal()
	sealed, err := s.SealKey(scope, headPlace(g.id), b)
	b.Erase()
	if err != nil {
		return err
	}
	if _, err := s.Exec(`INSERT INTO groups (id, name, purpose, status, creator, inviter, head, sealed, created, restored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, purpose = excluded.purpose, status = excluded.status, creator = excluded.creator, head = excluded.head, sealed = excluded.sealed, restored = excluded.restored`,
		g.id, g.name, g.purpose, groupActive, g.creator, g.inviter.Bytes(), cid, sealed, s.unixMilli(), g.restored); err != nil {
		return err
	}
	if _, err := s.Exec(`INSERT INTO epochs (cid, grp, number) VALUES (?, ?, ?)`, cid, g.id, g.head.Epoch()); err != nil {
		return err
	}
	if !s.HasScope(epochScope(cid)) { // an epoch whose first row is yet to come
		return s.CreateScope(epochScope(cid))
	}
	return nil
}

func memberAccount(m groups.Member) (identity.Account, error) {
	acct, ok := m.Acct()
	if !ok {
		return identity.Account{}, groups.ErrCredential
	}
	return identity.AccountFromBytes(acct[:])
}

// groupID finds a group by its name, or by its id in hex.
func (c *Client) groupID(ctx context.Context, nameOrID string) (id []byte, err error) {
	err = c.view(ctx, func(tx *store.Tx) error {
		// An id is looked for first: a group can be named like another's id.
		if raw, err := hex.DecodeString(nameOrID); err == nil && len(raw) == groupIDSize {
			err := tx.QueryRow(`SELECT id FROM groups WHERE id = ?`, raw).Scan(&id)
			if !errors.Is(err, store.ErrNoRows) {
				return err
			}
		}
		return tx.QueryRow(`SELECT id FROM groups WHERE name = ? ORDER BY status = 'active' DESC, created DESC LIMIT 1`, nameOrID).Scan(&id)
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, fmt.Errorf("%w: %q", ErrUnknownGroup, nameOrID)
	}
	return id, err
}

// noteRollback marks the groups of a profile that was put back to an earlier
// state, to which nothing more is sent, and ends its sessions. It runs before
// anything is loaded.
func (c *Client) noteRollback(ctx context.Context) error {
	if !c.db.RolledBack() {
		return nil
	}
	err := c.step(ctx, func(s *step) error {
		r, err := s.Exec(`UPDATE groups SET restored = 1 WHERE status = ?`, groupActive)
		if err != nil {
			return err
		}
		// Sessions are not what they are on the other side. What is written next
		// begins new ones.
		if err := s.dropSessions(`SELECT id FROM sessions`); err != nil {
			return err
		}
		return s.alert(fmt.Sprintf("this profile was put back to an earlier state; nothing is sent to the %d groups it was in then", r.RowsAffected))
	})
	if err != nil {
		return err
	}
	return c.db.ClearRolledBack(ctx)
}

// active returns a group that the client is in. Held: c.mu.
func (c *Client) active(id []byte) (*group, error) {
	if g := c.groups[string(id)]; g != nil {
		return g, nil
	}
	return nil, ErrNotInGroup
}

// CreateGroup makes a group of this account and the members named, of which
// this client is the creator: it alone commits changes. Every member's keys are
// fetched first, so all must be reachable, or their records kept by someone who
// is. It returns ErrGroupName for a bad name or purpose, and a *PeerError for a
// member who cannot be invited; then there is no group.
func (c *Client) CreateGroup(ctx context.Context, name string, members []string, o GroupOptions) (Group, error) {
	if err := checkGroupName(name); err != nil {
		return Group{}, err
	}
	if err := checkPurpose(o.Purpose); err != nil {
		return Group{}, err
	}
	invited, err := c.invite(ctx, members)
	if err != nil {
		return Group{}, err
	}
	g := &group{id: make([]byte, groupIDSize), name: name, purpose: o.Purpose, creator: true, inviter: c.me.account}
	rand.Read(g.id)
	err = c.step(ctx, func(s *step) error {
		var n int
		if err := s.QueryRow(`SELECT COUNT(*) FROM groups WHERE name = ? AND status = ?`, name, groupActive).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: %q is taken", ErrGroupName, name)
		}
		var err error
		g.head, err = groups.Create(epochRows{s}, groups.CreateOptions{GroupID: g.id, Credential: c.credential(), Signer: c.signer(), Now: s.now})
		if err != nil {
			return err
		}
		if err := s.saveHead(g); err != nil {
			return err
		}
		s.then(func() {
			c.setGroup(g)
		})
		if err := s.emit(Event{Kind: EventGroup, Group: g.ref(), Change: "created"}); err != nil {
			return err
		}
		if len(invited) == 0 {
			return nil
		}
		return s.commit(g, groups.CommitOptions{Add: invited})
	})
	if err != nil {
		return Group{}, err
	}
	return c.groupByID(ctx, g.id)
}

func checkGroupName(name string) error {
	if name == "" || len(name) > maxGroupName || strings.TrimSpace(name) != name {
		return fmt.Errorf("%w: 1 to %d bytes, without spaces around", ErrGroupName, maxGroupName)
	}
	return checkPrints(name)
}

func checkPurpose(purpose string) error {
	if len(purpose) > MaxTypeName {
		return fmt.Errorf("%w: a purpose has at most %d bytes", ErrGroupName, MaxTypeName)
	}
	return checkPrints(purpose)
}

func checkPrints(s string) error {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return fmt.Errorf("%w: a character does not print", ErrGroupName)
		}
	}
	return nil
}

// invite resolves members and fetches a key package of each.
func (c *Client) invite(ctx context.Context, members []string) ([]*groups.KeyPackage, error) {
	var all []*groups.KeyPackage
	seen := map[identity.Account]bool{c.me.account: true}
	for _, m := range members {
		account, err := c.resolve(ctx, m)
		if err != nil {
			return nil, err
		}
		if account == c.me.account {
			return nil, &PeerError{m, ErrSelf}
		}
		if seen[account] {
			return nil, &PeerError{m, ErrMember}
		}
		seen[account] = true
		record, err := c.fetchPatiently(ctx, account)
		if err != nil {
			return nil, &PeerError{m, err}
		}
		if len(record.Bundle.KeyPackages) == 0 {
			return nil, &PeerError{m, ErrNoRecord}
		}
		kp, err := groups.ParseKeyPackage(record.Bundle.KeyPackages[0])
		if err != nil {
			return nil, &PeerError{m, err}
		}
		if got, err := memberAccount(groups.Member{Credential: kp.Leaf.Credential}); err != nil || got != account {
			return nil, &PeerError{m, identity.ErrOtherAccount}
		}
		all = append(all, kp)
	}
	return all, nil
}

// AddMembers adds members to a group; only its creator may. Errors are those
// of CreateGroup, ErrNotAdmin, and ErrMember for one who is in it.
func (c *Client) AddMembers(ctx context.Context, nameOrID string, members []string) (Group, error) {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return Group{}, err
	}
	if err := c.mayCommit(id); err != nil {
		return Group{}, err
	}
	invited, err := c.invite(ctx, members)
	if err != nil {
		return Group{}, err
	}
	err = c.step(ctx, func(s *step) error {
		g, err := c.active(id)
		if err != nil {
			return err
		}
		for i, kp := range invited {
			for _, m := range g.head.Members() {
				if string(m.Subject) == string(groups.Subject(kp.Leaf.Credential)) {
					return &PeerError{members[i], ErrMember}
				}
			}
		}
		return s.commit(g, groups.CommitOptions{Add: invited})
	})
	if err != nil {
		return Group{}, err
	}
	return c.groupByID(ctx, id)
}

// RemoveMembers removes members from a group; only its creator may. They read
// nothing that is sent from then on. It returns ErrNotAdmin, and ErrNotMember
// for one who is not in it.
func (c *Client) RemoveMembers(ctx context.Context, nameOrID string, members []string) (Group, error) {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return Group{}, err
	}
	if err := c.mayCommit(id); err != nil {
		return Group{}, err
	}
	accounts := make([]identity.Account, len(members))
	for i, m := range members {
		if accounts[i], err = c.resolve(ctx, m); err != nil {
			return Group{}, err
		}
		if accounts[i] == c.me.account {
			return Group{}, &PeerError{m, ErrSelf}
		}
	}
	err = c.step(ctx, func(s *step) error {
		g, err := c.active(id)
		if err != nil {
			return err
		}
		var leaves []groups.LeafIndex
		for i, a := range accounts {
			before := len(leaves)
			for _, m := range g.head.Members() {
				if got, err := memberAccount(m); err == nil && got == a {
					leaves = append(leaves, m.Leaf)
				}
			}
			if len(leaves) == before {
				return &PeerError{members[i], ErrNotMember}
			}
		}
		return s.commit(g, groups.CommitOptions{Remove: leaves})
	})
	if err != nil {
		return Group{}, err
	}
	return c.groupByID(ctx, id)
}

func (c *Client) mayCommit(id []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.active(id)
	if err == nil && !g.creator {
		err = ErrNotAdmin
	}
	return err
}

// UpdateKeys replaces this member's keys in a group, so that what an earlier
// copy of them could read it cannot read from then on. The creator commits at
// once; another member proposes, and an event "updated" tells when the
// creator's client has committed it: soon, unless it has done so for this member
// within the last ten minutes.
func (c *Client) UpdateKeys(ctx context.Context, nameOrID string) error {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return err
	}
	return c.step(ctx, func(s *step) error {
		g, err := c.active(id)
		if err != nil {
			return err
		}
		if g.creator {
			return s.commit(g, groups.CommitOptions{})
		}
		return s.intend(g, intentUpdate)
	})
}

// LeaveGroup leaves a group. The creator's client commits the removal; until
// then messages still arrive. The creator can leave only as the last member,
// else ErrCreatorLeaves. A group that ErrRestored is returned for is left at
// once, without a word to the others.
func (c *Client) LeaveGroup(ctx context.Context, nameOrID string) error {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return err
	}
	return c.step(ctx, func(s *step) error {
		g, err := c.active(id)
		if err != nil {
			return err
		}
		if g.restored {
			return s.gone(g, groupLeft) // it may not say so: see ErrRestored
		}
		if !g.creator {
			return s.intend(g, intentLeave)
		}
		if g.head.Size() > 1 {
			return ErrCreatorLeaves
		}
		return s.gone(g, groupLeft)
	})
}

// Groups lists the groups the client is or was in.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var ids [][]byte
	err := c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT id FROM groups ORDER BY created`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	all := make([]Group, len(ids))
	for i, id := range ids {
		if all[i], err = c.groupByID(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Group returns a group by its name, or its id in hex.
func (c *Client) Group(ctx context.Context, nameOrID string) (Group, error) {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return Group{}, err
	}
	return c.groupByID(ctx, id)
}

func (c *Client) groupByID(ctx context.Context, id []byte) (Group, error) {
	c.mu.Lock()
	g := c.groups[string(id)]
	var head *groups.Group
	var untrusted []identity.Account
	if g != nil {
		head, untrusted = g.head, g.untrusted
	}
	c.mu.Unlock()
	out := Group{GroupRef: GroupRef{ID: hex.EncodeToString(id)}, Members: []Member{}}
	err := c.view(ctx, func(tx *store.Tx) error {
		var cid groups.CID
		if err := tx.QueryRow(`SELECT name, purpose, status, creator, head FROM groups WHERE id = ?`, id).Scan(&out.Name, &out.Purpose, &out.Status, &out.Creator, &cid); err != nil {
			return err
		}
		out.Head = hex.EncodeToString(cid[:])
		if head == nil {
			return tx.QueryRow(`SELECT COALESCE(MAX(number), 0) FROM epochs WHERE grp = ?`, id).Scan(&out.Epoch)
		}
		out.Epoch = head.Epoch()
		for _, m := range head.Members() {
			account, err := memberAccount(m)
			if err != nil {
				return err
			}
			member := Member{Peer: c.peer(tx, account), Admin: m.Admin, Self: m.Leaf == head.Self(), Leaf: uint32(m.Leaf), Verified: true}
			for _, u := range untrusted {
				member.Verified = member.Verified && u != account
			}
			out.Members = append(out.Members, member)
		}
		return nil
	})
	if errors.Is(err, store.ErrNoRows) {
		err = ErrUnknownGroup
	}
	return out, err
}

// SendGroup writes to a group. As with Send, the message is on disk when it
// returns. It is encrypted when someone can hear it, and stays Sent: groups
// have no receipts. It returns ErrUnknownGroup, ErrNotInGroup, and what Send
// does for bad content.
func (c *Client) SendGroup(ctx context.Context, nameOrID string, content Content, opts SendOptions) (Receipt, error) {
	id, err := c.groupID(ctx, nameOrID)
	if err != nil {
		return Receipt{}, err
	}
	if content.Kind == KindReceipt {
		return Receipt{}, fmt.Errorf("%w: groups have no receipts", ErrContent)
	}
	return c.send(ctx, groupConv(id), nil, content, opts, func(*step) error {
		g, err := c.active(id)
		if err == nil && g.restored {
			err = ErrRestored
		}
		return err
	})
}

// epoch is what a head and a past epoch have in common for the index.
type epoch interface {
	CID() groups.CID
	Self() groups.LeafIndex
	Members() []groups.Member
	Tag(class groups.Class, leaf groups.LeafIndex, n uint64) [groups.TagSize]byte
}

var (
	_ epoch = (*groups.Group)(nil)
	_ epoch = (*groups.Past)(nil)
)

// bodySize is the length that a group's envelope is padded to.
func bodySize(n int) int {
	size, err := transport.SizeFor(n)
	if err != nil {
		return n // refused when it becomes an envelope
	}
	return size
}
