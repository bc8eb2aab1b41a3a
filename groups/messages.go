package groups

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// Protect encrypts an application message of at most [MaxApplicationData]
// bytes, and moves the own ratchet and hash chain on. It returns the
// MLSMessage and the header that went into it. The rows must be on disk before
// the message leaves.
func (g *Group) Protect(rows Rows, plaintext []byte) ([]byte, AppHeader, error) {
	if len(plaintext) > MaxApplicationData {
		return nil, AppHeader{}, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(plaintext), MaxApplicationData)
	}
	header, err := g.nextHeader(rows)
	if err != nil {
		return nil, AppHeader{}, err
	}
	var out changes
	k, err := g.secretTree(rows).next(ratchetApplication, uint32(g.self), &out)
	if err != nil {
		return nil, AppHeader{}, err
	}
	defer k.key.Erase()
	a := &authContent{wireFormat: WirePrivateMessage, content: &framedContent{
		groupID:           g.groupID,
		epoch:             g.number,
		sender:            member(uint32(g.self)),
		authenticatedData: header.marshal(),
		contentType:       ContentApplication,
		application:       plaintext,
	}}
	if err := a.sign(g.suite, g.signer, g.context); err != nil {
		return nil, AppHeader{}, err
	}
	msg := protectPrivate(g.suite, g.senderData, k, a).marshal()
	next := AppHeader{N: header.N + 1, Prev: MessageHash(msg)}
	out.put(rowKey(rowSender), next.marshal())
	if err := out.write(rows, g.cid); err != nil {
		return nil, AppHeader{}, err
	}
	return msg, header, nil
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
	sender LeafIndex
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
		list = append(list, pendingEntry{LeafIndex(r.Uint32()), bytes.Clone(r.Vec())})
	}
	if r.Done() != nil {
		return nil, fmt.Errorf("%w: list of pending proposals", ErrState)
	}
	return list, nil
}

// remember stages a verified proposal in the rows. It returns [ErrDuplicate]
// for one that waits already, and [ErrProposal] if there are too many.
func (g *Group) remember(rows Rows, a *authContent, ref []byte, out *changes) error {
	list, err := g.pendingList(rows)
	if err != nil {
		return err
	}
	sender, own := LeafIndex(a.content.sender.Index), 0
	b := make([]byte, 0, (len(list)+1)*(len(ref)+5))
	for _, p := range list {
		if bytes.Equal(p.ref, ref) {
			return fmt.Errorf("%w: proposal", ErrDuplicate)
		}
		if p.sender == sender {
			own++
		}
		b = wire.AppendVec(wire.AppendUint32(b, uint32(p.sender)), p.ref)
	}
	if len(list) >= MaxPendingProposals || own >= MaxPendingPerSender {
		return fmt.Errorf("%w: too many are pending", ErrProposal)
	}
	b = wire.AppendVec(wire.AppendUint32(b, uint32(sender)), ref)
	out.put(rowKey(rowPending), b)
	encoded := a.marshal()
	if len(encoded) > MaxProposalSize {
		return fmt.Errorf("%w: of %d bytes, limit %d", ErrProposal, len(encoded), MaxProposalSize)
	}
	out.put(refRowKey(rowProposal, ref), encoded)
	return nil
}

// recall reads a pending proposal. It returns [ErrUnknownProposal] if there is
// none.
func (g *Group) recall(rows Rows, ref []byte) (*Proposal, LeafIndex, error) {
	row, err := rows.Get(g.cid, refRowKey(rowProposal, ref))
	if err != nil {
		return nil, 0, err
	}
	if row == nil {
		return nil, 0, fmt.Errorf("%w: %x", ErrUnknownProposal, ref)
	}
	r := wire.NewReader(row)
	a := readAuthContent(r)
	if r.Done() != nil || a.content.contentType != ContentProposal {
		return nil, 0, fmt.Errorf("%w: proposal row", ErrState)
	}
	return a.content.proposal, LeafIndex(a.content.sender.Index), nil
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
		if p.sender == g.self {
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
