package groups

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/parley-im/parley/internal/wire"
)

// Protect encrypts an application message of at most [MaxApplicationData]
// bytes, and moves the own ratchet and hash chain on. It returns the
// MLSMessage and the header that went into it. The rows must be on disk before
// the message leaves. It returns [ErrReInit] in a group that was closed, and
// [ErrExhausted].
func (g *Group) Protect(rows Rows, plaintext []byte) ([]byte, AppHeader, error) {
	header, err := g.nextHeader(rows)
	if err != nil {
		return nil, AppHeader{}, err
	}
	msg, err := g.protectApplication(rows, plaintext, header, Framing{AuthenticatedData: header.marshal()})
	if err != nil {
		return nil, AppHeader{}, err
	}
	return msg, header, nil
}

// ProtectPlain is Protect for a group without roles, where authenticated data
// and padding are the caller's and there is no header. It returns [ErrRoles] in
// a group with roles.
func (g *Group) ProtectPlain(rows Rows, plaintext []byte, f Framing) ([]byte, error) {
	if !g.plain {
		return nil, fmt.Errorf("%w: messages of a group with roles have a header", ErrRoles)
	}
	header, err := g.nextHeader(rows)
	if err != nil {
		return nil, err
	}
	return g.protectApplication(rows, plaintext, header, f)
}

func (g *Group) protectApplication(rows Rows, plaintext []byte, header AppHeader, f Framing) ([]byte, error) {
	if g.reInit != nil {
		return nil, ErrReInit
	}
	if len(plaintext) > MaxApplicationData {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(plaintext), MaxApplicationData)
	}
	if _, err := f.format(); err != nil {
		return nil, err
	}
	a := &authContent{wireFormat: WirePrivateMessage, content: &framedContent{
		groupID:           g.groupID,
		epoch:             g.number,
		sender:            member(g.self),
		authenticatedData: f.AuthenticatedData,
		contentType:       ContentApplication,
		application:       plaintext,
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		return nil, err
	}
	var out changes
	msg, err := g.protect(rows, a, f.Padding, &out)
	if err != nil {
		return nil, err
	}
	next := AppHeader{N: header.N + 1, Prev: a.hash()}
	out.put(rowKey(rowSender), next.marshal())
	return msg, out.write(rows, g.cid)
}

// nextHeader reads the header of the own next message.
func (g *Group) nextHeader(rows Rows) (AppHeader, error) {
	row, err := rows.Get(g.cid, rowKey(rowSender))
	if err != nil || row == nil {
		return AppHeader{}, err
	}
	h, err := parseAppHeader(row)
	if err != nil {
		return AppHeader{}, fmt.Errorf("%w: sender row", ErrState)
	}
	return h, nil
}

// Sent returns how many application messages this member sent in this epoch,
// and the hash of the last one: what others will have seen of it when nothing
// is missing.
func (g *Group) Sent(rows Rows) (n uint64, last [32]byte, err error) {
	h, err := g.nextHeader(rows)
	return h.N, h.Prev, err
}

// Unprotect opens an application message of this epoch and consumes its key.
// Among its errors are *[EpochError], [ErrWrongGroup], [ErrNotMember],
// [ErrReplay], [ErrTooFarAhead], [ErrDecrypt], [ErrSignature] and
// [ErrOwnMessage].
func (g *Group) Unprotect(rows Rows, msg []byte) (*Application, error) {
	return g.unprotect(rows, g, msg)
}

// pendingEntry is one proposal in the list of those that wait, as it is stored.
type pendingEntry struct {
	sender Sender
	ref    []byte
}

// pendingList reads the list of pending proposals.
func (g *Group) pendingList(rows Rows) ([]pendingEntry, error) {
	row, err := rows.Get(g.cid, rowKey(rowPending))
	if err != nil {
		return nil, err
	}
	var list []pendingEntry
	r := wire.NewReader(row)
	for r.More() {
		list = append(list, pendingEntry{readSender(r), bytes.Clone(r.Vec())})
	}
	if r.Done() != nil {
		return nil, fmt.Errorf("%w: list of pending proposals", ErrState)
	}
	return list, nil
}

// remember stages a verified proposal in the rows. Where there are too many, it
// takes the place of the oldest of its sender, or else of another's: what waits
// depends on the order in which things came, and a commit may refer to any of
// them, so that one that is needed must always be let in when it comes again. It
// returns [ErrDuplicate] for one that waits already, and [ErrProposal] for one
// that is too large, or of this member itself and one too many.
func (g *Group) remember(rows Rows, a *authContent, ref []byte, out *changes) error {
	list, err := g.pendingList(rows)
	if err != nil {
		return err
	}
	encoded := a.marshal()
	if len(encoded) > MaxProposalSize {
		return fmt.Errorf("%w: of %d bytes, limit %d", ErrProposal, len(encoded), MaxProposalSize)
	}
	sender, same, limit := a.content.sender, 0, MaxPendingPerSender
	if sender.Type == SenderNewMemberProposal {
		limit = MaxPendingOutside
	}
	for _, p := range list {
		if bytes.Equal(p.ref, ref) {
			return fmt.Errorf("%w: proposal", ErrDuplicate)
		}
		if p.sender == sender {
			same++
		}
	}
	drop := -1
	switch {
	case same >= limit && sender.is(g.self):
		return fmt.Errorf("%w: too many are pending", ErrProposal)
	case same >= limit:
		drop = slices.IndexFunc(list, func(p pendingEntry) bool { return p.sender == sender })
	case len(list) >= MaxPendingProposals:
		drop = slices.IndexFunc(list, func(p pendingEntry) bool { return !p.sender.is(g.self) })
	}
	if drop >= 0 {
		out.del(refRowKey(rowProposal, list[drop].ref))
		list = slices.Delete(list, drop, drop+1)
	}
	b := make([]byte, 0, (len(list)+1)*(len(ref)+6))
	for _, p := range append(list, pendingEntry{sender, ref}) {
		b = wire.AppendVec(p.sender.append(b), p.ref)
	}
	out.put(rowKey(rowPending), b)
	out.put(refRowKey(rowProposal, ref), encoded)
	return nil
}

// recall reads a pending proposal. It returns [ErrUnknownProposal] if there is
// none.
func (g *Group) recall(rows Rows, ref []byte) (*Proposal, Sender, error) {
	row, err := rows.Get(g.cid, refRowKey(rowProposal, ref))
	if err != nil {
		return nil, Sender{}, err
	}
	if row == nil {
		return nil, Sender{}, fmt.Errorf("%w: %x", ErrUnknownProposal, ref)
	}
	r := wire.NewReader(row)
	a := readAuthContent(r)
	if r.Done() != nil || a.content.contentType != ContentProposal {
		return nil, Sender{}, fmt.Errorf("%w: proposal row", ErrState)
	}
	return a.content.proposal, a.content.sender, nil
}

// forget stages the end of everything in the rows that serves to send or to
// commit: what a past epoch must not have.
func (g *Group) forget(rows Rows, out *changes) error {
	list, err := g.pendingList(rows)
	if err != nil {
		return err
	}
	for _, p := range list {
		out.del(refRowKey(rowProposal, p.ref))
		if p.sender.is(g.self) {
			out.del(refRowKey(rowUpdate, p.ref))
		}
	}
	out.del(rowKey(rowPending))
	out.del(rowKey(rowSender))
	out.del(rowKey(rowHandshakes))
	// Own ratchets that were never used are taken out of the tree first.
	if _, err := g.secretTree(rows).load(ratchetApplication, uint32(g.self), out); err != nil {
		return err
	}
	out.del(rowKey(rowRatchet, uint32(ratchetHandshake), uint32(g.self)))
	out.del(rowKey(rowRatchet, uint32(ratchetApplication), uint32(g.self)))
	return nil
}
