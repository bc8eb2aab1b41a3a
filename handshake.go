package parley

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/transport"
)

const (
	// handshakePartSize is how much of a handshake that exceeds one envelope each
	// of its parts carries, in bytes; the rest of an envelope is for what comes
	// with it.
	handshakePartSize = 58 << 10
	// maxHandshakeParts bounds the parts: a commit that adds two thousand members.
	maxHandshakeParts = 32
	// maxSignature bounds the signature of a part, in bytes.
	maxSignature = 256
	// handshakePartMagic begins a part. An MLSMessage begins with its version, 1.
	handshakePartMagic = 0xF0E1
	// handshakePartLabel is what a part's signature is for.
	handshakePartLabel = "parley/1 parts"
)

var (
	errHandshakePart = errors.New("parley: malformed part of a handshake")
	// errPartsBegun is for a part of a handshake whose sender has another in parts
	// that is not complete.
	errPartsBegun = errors.New("parley: another handshake of this member is not complete")
)

// handshakePart is a part of an MLSMessage that exceeds one envelope
// (docs/spec.md, "Handshakes in parts"). Every member has the key of the
// envelope, so each part proves whose it is.
type handshakePart struct {
	first     uint64   // number of the envelope with the first part
	index     uint16   // of this part
	digests   [][]byte // SHA-256 of the data of each part
	signature []byte   // by the sender's leaf
	data      []byte
}

func (p *handshakePart) marshal() []byte {
	b := wire.AppendUint16(nil, handshakePartMagic)
	b = wire.AppendUint64(b, p.first)
	b = wire.AppendUint16(b, p.index)
	b = wire.AppendVecFunc(b, p.appendDigests)
	b = wire.AppendVec(b, p.signature)
	return wire.AppendVec(b, p.data)
}

func (p *handshakePart) appendDigests(b []byte) []byte {
	for _, d := range p.digests {
		b = append(b, d...)
	}
	return b
}

// isHandshakePart tells parts from MLSMessages.
func isHandshakePart(b []byte) bool { return wire.NewReader(b).Uint16() == handshakePartMagic }

// parseHandshakePart reads a part whose data fits its digest. It returns
// errHandshakePart, and keeps b.
func parseHandshakePart(b []byte) (*handshakePart, error) {
	r := wire.NewReader(b)
	if r.Uint16() != handshakePartMagic {
		r.Fail(wire.ErrValue)
	}
	p := &handshakePart{first: r.Uint64(), index: r.Uint16()}
	all := r.VecMax(maxHandshakeParts * sha256.Size)
	p.signature = r.VecMax(maxSignature)
	p.data = r.VecMax(handshakePartSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshakePart, err)
	}
	total := len(all) / sha256.Size
	if len(all)%sha256.Size != 0 || total < 2 || int(p.index) >= total || p.first > maxSeq {
		return nil, fmt.Errorf("%w: out of range", errHandshakePart)
	}
	for i := range total {
		p.digests = append(p.digests, all[i*sha256.Size:(i+1)*sha256.Size])
	}
	if sha256.Sum256(p.data) != [sha256.Size]byte(p.digests[p.index]) {
		return nil, fmt.Errorf("%w: another digest", errHandshakePart)
	}
	return p, nil
}

// signed is what a part's signature covers: all but the data and its place, of
// which it covers the digest.
func (p *handshakePart) signed(cid groups.CID, leaf groups.LeafIndex) []byte {
	b := wire.AppendUint64(wire.AppendUint32(cid[:], uint32(leaf)), p.first)
	return p.appendDigests(b)
}

// sendHandshake seals a proposal or commit for the members of the head's epoch,
// in parts if it takes more than one envelope.
func (s *step) sendHandshake(g *group, msg []byte) error {
	n, err := g.head.NextHandshake(epochRows{s})
	if err != nil {
		return err
	}
	if _, err := transport.SizeFor(groups.EnvelopeOverhead + len(msg)); err == nil {
		return s.sendHandshakeEnvelope(g, n, msg)
	}
	if len(msg) > maxHandshakeParts*handshakePartSize {
		return fmt.Errorf("%w: a handshake of %d bytes", ErrTooLarge, len(msg))
	}
	p := handshakePart{first: n}
	var pieces [][]byte
	for len(msg) > 0 {
		size := min(len(msg), handshakePartSize)
		digest := sha256.Sum256(msg[:size])
		pieces, p.digests = append(pieces, msg[:size]), append(p.digests, digest[:])
		msg = msg[size:]
	}
	mls, err := suite.ByID(g.head.Suite())
	if err != nil {
		return err
	}
	if p.signature, err = mls.SignWithLabel(s.c.signer(), handshakePartLabel, p.signed(g.head.CID(), g.head.Self())); err != nil {
		return err
	}
	for i, piece := range pieces {
		if i > 0 { // they are numbered without a gap
			if n, err = g.head.NextHandshake(epochRows{s}); err != nil {
				return err
			}
		}
		p.index, p.data = uint16(i), piece
		if err := s.sendHandshakeEnvelope(g, n, p.marshal()); err != nil {
			return err
		}
	}
	return nil
}

// sendHandshakeEnvelope puts a handshake, or a part, into the outbox.
func (s *step) sendHandshakeEnvelope(g *group, n uint64, msg []byte) error {
	sealed, err := g.head.Seal(groups.ClassHandshake, n, msg, bodySize)
	if err != nil {
		return err
	}
	r, err := s.Exec(`INSERT INTO outbox (conv, wire, content, acked) VALUES (?, ?, x'', 0)`, g.conv(), NewMessageID())
	if err != nil {
		return err
	}
	return s.groupEnvelope(g, r.LastInsertID, sealed)
}

// joinHandshake keeps a part of a handshake, and returns the whole MLSMessage
// when it is the last to come, else nil. Of each member one handshake is kept
// until it is complete.
func (s *step) joinHandshake(g *group, r route, b []byte) ([]byte, error) {
	p, err := parseHandshakePart(b)
	if err != nil {
		return nil, err
	}
	if p.first+uint64(p.index) != r.n {
		return nil, errMisplaced
	}
	m, ok := g.head.Member(r.leaf)
	if !ok {
		return nil, errMisplaced
	}
	mls, err := suite.ByID(g.head.Suite())
	if err != nil {
		return nil, err
	}
	cid := g.head.CID()
	if err := mls.VerifyWithLabel(m.SignatureKey, handshakePartLabel, p.signed(cid, r.leaf), p.signature); err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshakePart, err)
	}
	whole := sha256.Sum256(p.signed(cid, r.leaf))
	rows, err := s.Query(`SELECT whole, idx, data FROM handshake_parts WHERE cid = ? AND leaf = ?`, cid, r.leaf)
	if err != nil {
		return nil, err
	}
	pieces := make([][]byte, len(p.digests))
	pieces[p.index] = p.data
	missing := len(pieces) - 1
	for rows.Next() {
		var other [sha256.Size]byte
		var i int
		var data []byte
		if err := rows.Scan(&other, &i, &data); err != nil {
			return nil, err
		}
		if other != whole {
			return nil, errPartsBegun
		}
		if pieces[i] == nil {
			missing--
		}
		pieces[i] = data
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if missing > 0 {
		_, err := s.Exec(`INSERT OR IGNORE INTO handshake_parts (cid, leaf, whole, idx, data) VALUES (?, ?, ?, ?, ?)`, cid, r.leaf, whole, p.index, p.data)
		return nil, err
	}
	if _, err := s.Exec(`DELETE FROM handshake_parts WHERE cid = ? AND leaf = ?`, cid, r.leaf); err != nil {
		return nil, err
	}
	var msg []byte
	for _, piece := range pieces {
		msg = append(msg, piece...)
	}
	return msg, nil
}
