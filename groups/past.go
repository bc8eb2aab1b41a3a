package groups

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// Past is an epoch that was left: it opens late messages, and cannot send,
// export, or lead to another epoch. How many are kept, and how long, is the
// caller's policy; to end one, delete what was stored and all rows of its CID.
type Past struct {
	epoch
	roster []Member // in the order of leaves
}

func (g *Group) past() *Past { return &Past{epoch: g.epoch, roster: g.Members()} }

// Retire gives the head up without a successor, which is what a member does
// that was removed: it deletes from the rows what a past epoch must not have.
func (g *Group) Retire(rows Rows) (*Past, error) {
	var out changes
	if err := g.forget(rows, &out); err != nil {
		return nil, err
	}
	return g.past(), out.write(rows, g.cid)
}

// CID returns the name of the epoch.
func (p *Past) CID() CID { return p.cid }

// Epoch returns the number of the epoch.
func (p *Past) Epoch() uint64 { return p.number }

// GroupID returns the group's identifier. Do not change it.
func (p *Past) GroupID() []byte { return p.groupID }

// Self returns the leaf that this member had.
func (p *Past) Self() LeafIndex { return p.self }

// Tag is [Group.Tag] of that epoch.
func (p *Past) Tag(class Class, leaf LeafIndex, n uint64) [TagSize]byte {
	return p.envelopeTag(class, leaf, n)
}

// Open is [Group.Open] of that epoch.
func (p *Past) Open(tag [TagSize]byte, body []byte) ([]byte, error) { return p.openEnvelope(tag, body) }

// Member returns the member at a leaf in that epoch, and false if there was
// none.
func (p *Past) Member(leaf LeafIndex) (Member, bool) {
	i, ok := slices.BinarySearchFunc(p.roster, leaf, func(m Member, leaf LeafIndex) int { return cmp.Compare(m.Leaf, leaf) })
	if !ok {
		return Member{}, false
	}
	return p.roster[i], true
}

// Members returns all members of that epoch in the order of their leaves.
func (p *Past) Members() []Member { return slices.Clone(p.roster) }

// Unprotect opens a late application message, as [Group.Unprotect] does.
func (p *Past) Unprotect(rows Rows, msg []byte) (*Application, error) {
	return p.unprotect(rows, p, msg)
}

// stateVersion is the first byte of stored state.
const stateVersion = 2

// Marshal returns the past epoch for storage. It is secret.
func (p *Past) Marshal() secret.Key {
	b := []byte{stateVersion}
	b = append(b, p.cid[:]...)
	b = wire.AppendVec(b, p.context)
	b = wire.AppendUint32(b, p.width)
	b = wire.AppendUint32(b, uint32(p.self))
	b = wire.AppendOptional(b, p.plain)
	for _, k := range []secret.Key{p.senderData, p.envelopeKey, p.tagKey, p.handshakeKey} {
		b = wire.AppendVec(b, k.Bytes())
	}
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, m := range p.roster {
			b = wire.AppendUint32(b, uint32(m.Leaf))
			b = m.Credential.Append(b)
			b = wire.AppendVec(b, m.SignatureKey)
			b = wire.AppendOptional(b, m.Admin)
		}
		return b
	})
	return secret.New(b)
}

// UnmarshalPast decodes what [Past.Marshal] made. It returns [ErrState] for
// anything else.
func UnmarshalPast(stored secret.Key) (*Past, error) {
	r := wire.NewReader(stored.Bytes())
	if r.Uint8() != stateVersion {
		r.Fail(wire.ErrValue)
	}
	p := new(Past)
	r.Copy(p.cid[:])
	if err := p.setContext(bytes.Clone(r.Vec())); err != nil {
		return nil, err
	}
	p.width = r.Uint32()
	p.self = LeafIndex(r.Uint32())
	p.plain = r.Optional()
	for _, k := range []*secret.Key{&p.senderData, &p.envelopeKey, &p.tagKey, &p.handshakeKey} {
		*k = secret.Copy(r.Vec())
	}
	sub := r.Sub()
	for sub.More() {
		m := Member{Leaf: LeafIndex(sub.Uint32()), Credential: treekem.ReadCredential(sub)}
		m.SignatureKey = bytes.Clone(sub.Vec())
		m.Admin = sub.Optional()
		m.Subject = Subject(m.Credential)
		p.roster = append(p.roster, m)
	}
	r.Join(sub)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: past epoch: %w", ErrState, err)
	}
	return p, nil
}

// setContext sets what the encoded GroupContext says of the epoch.
func (e *epoch) setContext(encoded []byte) error {
	r := wire.NewReader(encoded)
	c := readGroupContext(r)
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: group context: %w", ErrState, err)
	}
	s, err := suite.ByID(c.suite)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	e.suite, e.groupID, e.number, e.context = s, c.groupID, c.epoch, encoded
	return nil
}
