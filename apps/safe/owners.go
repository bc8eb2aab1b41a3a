package safe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley"
)

// bound returns the groups whose purpose is the room's Safe, in the order of
// their ids, so that all members prefer the same one.
func (r *Room) bound(ctx context.Context) ([]parley.Group, error) {
	all, err := r.m.Groups(ctx)
	if err != nil {
		return nil, err
	}
	want := purpose(r.account)
	all = slices.DeleteFunc(all, func(g parley.Group) bool { return g.Purpose != want })
	slices.SortFunc(all, func(a, b parley.Group) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

const activeGroup = "active"

// writable returns the group that is written to: the first whose members are
// all owners. Nothing is said to who is not an owner: it returns a
// *[StrangersError], [ErrNotOwner] or [ErrNoRoom].
func (r *Room) writable() (*parley.Group, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.snapshot.Owners, r.self) {
		return nil, ErrNotOwner
	}
	err := ErrNoRoom
	for i := range r.groups {
		g := &r.groups[i]
		if g.Status != activeGroup {
			continue
		}
		strangers := strangers(g, r.snapshot.Owners)
		if len(strangers) == 0 {
			return g, nil
		}
		err = &StrangersError{g.GroupRef, strangers}
	}
	return nil, err
}

// strangers returns the members of a group who are not owners.
func strangers(g *parley.Group, owners []common.Address) []common.Address {
	var all []common.Address
	for _, m := range g.Members {
		if a := common.HexToAddress(m.Address); !slices.Contains(owners, a) {
			all = append(all, a)
		}
	}
	return all
}

// mendable reports whether the room has a group that is all owners, or that its
// creator, who alone changes it, can make so. Where it has none, somebody who is
// still an owner makes another: nobody can remove a creator.
func (r *Room) mendable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.groups, func(g parley.Group) bool {
		return g.Status == activeGroup && slices.ContainsFunc(g.Members, func(m parley.Member) bool {
			return m.Admin && slices.Contains(r.snapshot.Owners, common.HexToAddress(m.Address))
		})
	})
}

// found makes a group that is bound to the Safe, of which this client is the
// first member.
func (r *Room) found(ctx context.Context, name string) error {
	if name == "" {
		name = fmt.Sprintf("safe %s", short(r.account.Address))
	}
	o := parley.GroupOptions{Purpose: purpose(r.account)}
	_, err := r.m.CreateGroup(ctx, name, nil, o)
	for i := 2; errors.Is(err, parley.ErrGroupName) && i < 10; i++ { // taken, by a group that was before
		_, err = r.m.CreateGroup(ctx, fmt.Sprintf("%s (%d)", name, i), nil, o)
	}
	if err != nil {
		return err
	}
	return r.pull(ctx)
}

// follow makes the groups that this client created follow the owners, and tells
// the creators of the others. With invite it brings in owners who are missing;
// that can take long, so it is done when a room is opened, and by [Room.Watch].
func (r *Room) follow(ctx context.Context, invite bool) error {
	r.mu.Lock()
	groups, snapshot := slices.Clone(r.groups), r.snapshot
	r.mu.Unlock()
	if !slices.Contains(snapshot.Owners, r.self) {
		return nil
	}
	moved := false
	for _, g := range groups {
		if g.Status != activeGroup {
			continue
		}
		gone := strangers(&g, snapshot.Owners)
		if !g.Creator {
			if err := r.notice(ctx, &g, gone, snapshot); err != nil {
				return err
			}
			continue
		}
		if len(gone) > 0 {
			if _, err := r.m.RemoveMembers(ctx, g.ID, hexes(gone)); err != nil && !errors.Is(err, parley.ErrNotMember) {
				return err
			}
			moved = true
		}
		if invite {
			added, err := r.invite(ctx, &g, missing(&g, snapshot.Owners))
			if err != nil {
				return err
			}
			moved = moved || added
		}
	}
	if !moved {
		return nil
	}
	return r.pull(ctx)
}

// missing returns the owners who are not members of a group.
func missing(g *parley.Group, owners []common.Address) []common.Address {
	return slices.DeleteFunc(slices.Clone(owners), func(o common.Address) bool {
		return slices.ContainsFunc(g.Members, func(m parley.Member) bool { return common.HexToAddress(m.Address) == o })
	})
}

func hexes(all []common.Address) []string {
	out := make([]string, len(all))
	for i, a := range all {
		out[i] = a.Hex()
	}
	return out
}

// invite adds owners to a group, those whose keys can be had, and passes on to
// them what is not settled. It reports whether anybody was added.
func (r *Room) invite(ctx context.Context, g *parley.Group, owners []common.Address) (bool, error) {
	absent := map[common.Address]error{}
	var added []common.Address
	for _, o := range owners { // one by one: who cannot be reached must not keep the others out
		_, err := r.m.AddMembers(ctx, g.ID, []string{o.Hex()})
		switch {
		case err == nil:
			added = append(added, o)
		case errors.Is(err, parley.ErrMember):
		case errors.As(err, new(*parley.PeerError)) && ctx.Err() == nil, errors.Is(err, parley.ErrNoRecord):
			absent[o] = err
		default:
			return false, err
		}
	}
	r.mu.Lock()
	r.absent = absent
	items := r.ledger.Items(r.unsettled()...)
	r.mu.Unlock()
	if len(added) == 0 {
		return false, nil
	}
	return true, r.send(ctx, g, items, fmt.Sprint(added))
}

// unsettled returns the hashes of what is not settled. Held: r.mu.
func (r *Room) unsettled() []common.Hash {
	hashes := []common.Hash{{}} // of nothing, lest none means all
	for _, e := range r.ledger.Transactions(r.view()) {
		if e.open() {
			hashes = append(hashes, e.Hash)
		}
	}
	for _, e := range r.ledger.Messages(r.view()) {
		hashes = append(hashes, e.Hash)
	}
	return hashes
}

// notice tells the creator of a group, who may not look at the chain now, that
// the owners are others than the members. The group learns no more than it can
// see on the chain.
func (r *Room) notice(ctx context.Context, g *parley.Group, gone []common.Address, snapshot *Snapshot) error {
	if len(gone) == 0 && len(missing(g, snapshot.Owners)) == 0 {
		return nil
	}
	key := g.ID + fmt.Sprint(gone, snapshot.Owners)
	r.mu.Lock()
	told := r.noticed[key]
	r.mu.Unlock()
	if told {
		return nil
	}
	if err := r.send(ctx, g, []*Item{{Account: r.account, Owners: &OwnersNotice{snapshot.Block}}}, key); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noticed[key] = true
	return nil
}

// Absent returns the owners who could not be brought into the group when they
// were last tried, and why.
func (r *Room) Absent() map[common.Address]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.absent)
}

// Group returns the group that is written to. It returns [ErrNotOwner],
// [ErrNoRoom], or a *[StrangersError].
func (r *Room) Group() (parley.Group, error) {
	g, err := r.writable()
	if err != nil {
		return parley.Group{}, err
	}
	return *g, nil
}
