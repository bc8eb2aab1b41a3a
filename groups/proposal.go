package groups

import (
	"bytes"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// ProposalType is a number of the IANA registry "MLS Proposal Types".
type ProposalType = treekem.ProposalType

// Proposal types (RFC 9420, Section 17.4).
const (
	ProposalAdd                    ProposalType = 0x0001
	ProposalUpdate                 ProposalType = 0x0002
	ProposalRemove                 ProposalType = 0x0003
	ProposalPSK                    ProposalType = 0x0004
	ProposalReInit                 ProposalType = 0x0005
	ProposalExternalInit           ProposalType = 0x0006
	ProposalGroupContextExtensions ProposalType = 0x0007
	ProposalSelfRemove             ProposalType = 0x000A // draft-ietf-mls-extensions
)

// Proposal is a change to a group that someone wishes (RFC 9420, Section 12.1).
// The field that Type names is set; a self-remove has none.
type Proposal struct {
	Type       ProposalType
	Add        *KeyPackage
	Update     *LeafNode
	Remove     LeafIndex
	PSK        PreSharedKeyID
	ReInit     *ReInit
	KEMOutput  []byte     // of an external init
	Extensions Extensions // of group context extensions
	// Custom is the body of a proposal of any other type, which this package
	// carries and leaves to the caller: opaque<V> on the wire, at most
	// [MaxCustomProposal] bytes. Every member must list the type among its
	// capabilities.
	Custom []byte
}

// custom reports whether a type is one that only the caller understands.
func custom(t ProposalType) bool {
	return t > ProposalGroupContextExtensions && t != ProposalSelfRemove
}

// ReInit closes a group in favour of another with other parameters (RFC 9420,
// Section 12.1.5).
type ReInit struct {
	GroupID    []byte
	Version    treekem.ProtocolVersion
	Suite      suite.ID
	Extensions Extensions
}

func (p *Proposal) append(b []byte) []byte {
	b = wire.AppendUint16(b, uint16(p.Type))
	switch p.Type {
	case ProposalAdd:
		return p.Add.append(b)
	case ProposalUpdate:
		return p.Update.Append(b)
	case ProposalRemove:
		return wire.AppendUint32(b, uint32(p.Remove))
	case ProposalPSK:
		return p.PSK.append(b)
	case ProposalReInit:
		return p.ReInit.append(b)
	case ProposalExternalInit:
		return wire.AppendVec(b, p.KEMOutput)
	case ProposalGroupContextExtensions:
		return p.Extensions.Append(b)
	case ProposalSelfRemove:
		return b
	default:
		return wire.AppendVec(b, p.Custom)
	}
}

func (p *ReInit) append(b []byte) []byte {
	b = wire.AppendVec(b, p.GroupID)
	b = wire.AppendUint16(b, uint16(p.Version))
	b = wire.AppendUint16(b, uint16(p.Suite))
	return p.Extensions.Append(b)
}

func readReInit(r *wire.Reader) *ReInit {
	return &ReInit{
		GroupID:    bytes.Clone(r.VecMax(MaxGroupID)),
		Version:    treekem.ProtocolVersion(r.Uint16()),
		Suite:      suite.ID(r.Uint16()),
		Extensions: treekem.ReadExtensions(r),
	}
}

func readProposal(r *wire.Reader) *Proposal {
	p := &Proposal{Type: ProposalType(r.Uint16())}
	switch p.Type {
	case ProposalAdd:
		p.Add = readKeyPackage(r)
	case ProposalUpdate:
		p.Update = treekem.ReadLeafNode(r)
	case ProposalRemove:
		p.Remove = LeafIndex(r.Uint32())
	case ProposalPSK:
		p.PSK = readPreSharedKeyID(r)
	case ProposalReInit:
		p.ReInit = readReInit(r)
	case ProposalExternalInit:
		p.KEMOutput = bytes.Clone(r.Vec())
	case ProposalGroupContextExtensions:
		p.Extensions = treekem.ReadExtensions(r)
	case ProposalSelfRemove:
	case 0: // reserved (RFC 9420, Section 17.4)
		r.Fail(wire.ErrValue)
	default:
		p.Custom = bytes.Clone(r.VecMax(MaxCustomProposal))
	}
	return p
}

// proposalOrRef is ProposalOrRef of RFC 9420, Section 12.4: one of the two.
type proposalOrRef struct {
	proposal *Proposal
	ref      []byte
}

func (p *proposalOrRef) append(b []byte) []byte {
	if p.proposal != nil {
		return p.proposal.append(wire.AppendUint8(b, 1))
	}
	return wire.AppendVec(wire.AppendUint8(b, 2), p.ref)
}

func readProposalOrRef(r *wire.Reader) proposalOrRef {
	switch r.Uint8() {
	case 1:
		return proposalOrRef{proposal: readProposal(r)}
	case 2:
		return proposalOrRef{ref: bytes.Clone(r.Vec())}
	default:
		r.Fail(wire.ErrValue)
		return proposalOrRef{}
	}
}

// commit is Commit of RFC 9420, Section 12.4.
type commit struct {
	proposals []proposalOrRef
	path      *treekem.UpdatePath // or nil
}

func (c *commit) append(b []byte) []byte {
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range c.proposals {
			b = c.proposals[i].append(b)
		}
		return b
	})
	b = wire.AppendOptional(b, c.path != nil)
	if c.path != nil {
		b = c.path.Append(b)
	}
	return b
}

func readCommit(r *wire.Reader) *commit {
	c := new(commit)
	sub := r.Sub()
	for sub.More() {
		if len(c.proposals) == MaxProposals {
			sub.Fail(wire.ErrLength)
		}
		c.proposals = append(c.proposals, readProposalOrRef(sub))
	}
	r.Join(sub)
	if r.Optional() {
		c.path = treekem.ReadUpdatePath(r)
	}
	return c
}

const labelProposalRef = "MLS 1.0 Proposal Reference"

// proposalRef is RFC 9420, Section 5.2.
func proposalRef(s *suite.Suite, a *authContent) []byte {
	return s.RefHash(labelProposalRef, a.marshal())
}
