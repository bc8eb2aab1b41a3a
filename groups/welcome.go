package groups

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// groupContext is GroupContext of RFC 9420, Section 8.1.
type groupContext struct {
	suite                   suite.ID
	groupID                 []byte
	epoch                   uint64
	treeHash                []byte
	confirmedTranscriptHash []byte
	extensions              Extensions
}

func (c *groupContext) append(b []byte) []byte {
	b = wire.AppendUint16(b, protocolVersion)
	b = wire.AppendUint16(b, uint16(c.suite))
	b = wire.AppendVec(b, c.groupID)
	b = wire.AppendUint64(b, c.epoch)
	b = wire.AppendVec(b, c.treeHash)
	b = wire.AppendVec(b, c.confirmedTranscriptHash)
	return c.extensions.Append(b)
}

func readGroupContext(r *wire.Reader) groupContext {
	if r.Uint16() != protocolVersion {
		r.Fail(wire.ErrValue)
	}
	return groupContext{
		suite:                   suite.ID(r.Uint16()),
		groupID:                 bytes.Clone(r.VecMax(MaxGroupID)),
		epoch:                   r.Uint64(),
		treeHash:                bytes.Clone(r.VecMax(treekem.MaxKey)),
		confirmedTranscriptHash: bytes.Clone(r.VecMax(treekem.MaxKey)),
		extensions:              treekem.ReadExtensions(r),
	}
}

// groupInfo is GroupInfo of RFC 9420, Section 12.4.3: an epoch described for
// those outside of it.
type groupInfo struct {
	context         groupContext
	extensions      Extensions
	confirmationTag []byte
	signer          LeafIndex
	signature       []byte
}

const labelGroupInfo = "GroupInfoTBS"

func (g *groupInfo) unsigned(b []byte) []byte {
	b = g.context.append(b)
	b = g.extensions.Append(b)
	b = wire.AppendVec(b, g.confirmationTag)
	return wire.AppendUint32(b, uint32(g.signer))
}

func (g *groupInfo) append(b []byte) []byte { return wire.AppendVec(g.unsigned(b), g.signature) }

func readGroupInfo(r *wire.Reader) *groupInfo {
	return &groupInfo{
		context:         readGroupContext(r),
		extensions:      treekem.ReadExtensions(r),
		confirmationTag: bytes.Clone(r.VecMax(treekem.MaxKey)),
		signer:          LeafIndex(r.Uint32()),
		signature:       bytes.Clone(r.VecMax(treekem.MaxKey)),
	}
}

func (g *groupInfo) sign(s *suite.Suite, signer suite.SigningKey) error {
	sig, err := s.SignWithLabel(signer, labelGroupInfo, g.unsigned(nil))
	g.signature = sig
	return err
}

func (g *groupInfo) verify(s *suite.Suite, signatureKey []byte) error {
	if err := s.VerifyWithLabel(signatureKey, labelGroupInfo, g.unsigned(nil), g.signature); err != nil {
		return fmt.Errorf("%w: group info: %w", ErrSignature, err)
	}
	return nil
}

// groupSecrets is GroupSecrets of RFC 9420, Section 12.4.3.1.
type groupSecrets struct {
	joiner     secret.Key
	pathSecret secret.Key // empty if there is none
	psks       []PreSharedKeyID
}

func (g *groupSecrets) append(b []byte) []byte {
	b = wire.AppendVec(b, g.joiner.Bytes())
	b = wire.AppendOptional(b, !g.pathSecret.IsZero())
	if !g.pathSecret.IsZero() {
		b = wire.AppendVec(b, g.pathSecret.Bytes())
	}
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range g.psks {
			b = g.psks[i].append(b)
		}
		return b
	})
}

func readGroupSecrets(r *wire.Reader) *groupSecrets {
	g := &groupSecrets{joiner: secret.Copy(r.VecMax(treekem.MaxKey))}
	if r.Optional() {
		g.pathSecret = secret.Copy(r.VecMax(treekem.MaxKey))
		if g.pathSecret.IsZero() {
			r.Fail(wire.ErrLength)
		}
	}
	sub := r.Sub()
	for sub.More() {
		if len(g.psks) == MaxPSKs {
			sub.Fail(wire.ErrLength)
		}
		g.psks = append(g.psks, readPreSharedKeyID(sub))
	}
	r.Join(sub)
	return g
}

// welcome is Welcome of RFC 9420, Section 12.4.3.1.
type welcome struct {
	suite              suite.ID
	secrets            []encryptedGroupSecrets
	encryptedGroupInfo []byte
}

// encryptedGroupSecrets is EncryptedGroupSecrets: the secrets of one joiner.
type encryptedGroupSecrets struct {
	newMember  []byte // the reference of its key package
	kemOutput  []byte
	ciphertext []byte
}

func (w *welcome) append(b []byte) []byte {
	b = wire.AppendUint16(b, uint16(w.suite))
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range w.secrets {
			b = wire.AppendVec(b, w.secrets[i].newMember)
			b = wire.AppendVec(b, w.secrets[i].kemOutput)
			b = wire.AppendVec(b, w.secrets[i].ciphertext)
		}
		return b
	})
	return wire.AppendVec(b, w.encryptedGroupInfo)
}

func readWelcome(r *wire.Reader) *welcome {
	w := &welcome{suite: suite.ID(r.Uint16())}
	sub := r.Sub()
	for sub.More() {
		if len(w.secrets) == MaxProposals {
			sub.Fail(wire.ErrLength)
		}
		w.secrets = append(w.secrets, encryptedGroupSecrets{
			newMember:  sub.VecMax(treekem.MaxKey),
			kemOutput:  sub.VecMax(treekem.MaxKey),
			ciphertext: sub.VecMax(MaxAuthenticatedData),
		})
	}
	r.Join(sub)
	w.encryptedGroupInfo = r.VecMax(MaxMessageSize)
	return w
}

const labelWelcome = "Welcome"

// WelcomeRefs returns the references ([KeyPackage.Ref]) of the key packages
// that a Welcome is for, to find the private half to open it with.
func WelcomeRefs(msg []byte) ([][]byte, error) {
	m, err := parseMessage(msg)
	if err != nil {
		return nil, err
	}
	if m.wireFormat != WireWelcome {
		return nil, fmt.Errorf("%w: not a welcome", ErrMalformed)
	}
	refs := make([][]byte, len(m.welcome.secrets))
	for i, s := range m.welcome.secrets {
		refs[i] = bytes.Clone(s.newMember)
	}
	return refs, nil
}
