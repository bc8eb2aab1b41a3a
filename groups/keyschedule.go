package groups

import (
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// epochSecrets are the secrets of one epoch (RFC 9420, Section 8, Table 4).
type epochSecrets struct {
	joiner, welcome secret.Key // only while the epoch is being made

	senderData    secret.Key
	encryption    secret.Key // root of the secret tree; leaves for the rows
	exporter      secret.Key
	external      secret.Key
	confirmation  secret.Key
	membership    secret.Key
	resumption    secret.Key
	authenticator secret.Key
	init          secret.Key // of the next epoch
	parentInit    secret.Key // in its place, in groups with parley_agreement
}

// joinerSecret is the first half of the key schedule. The init secret is an
// argument, as it may come from the epoch before, from external_priv, or from a
// puncturable function. An empty commitSecret is a string of zeros.
func joinerSecret(s *suite.Suite, initSecret, commitSecret secret.Key, context []byte) secret.Key {
	if commitSecret.IsZero() {
		commitSecret = zeros(s)
	}
	extracted := s.Extract(initSecret, commitSecret)
	defer extracted.Erase()
	return s.ExpandWithLabel(extracted, "joiner", context, s.HashSize())
}

// scheduleFromJoiner is the second half, where a member that joins by Welcome
// begins. An empty pskSecret is a string of zeros.
func scheduleFromJoiner(s *suite.Suite, joiner, pskSecret secret.Key, context []byte, agreement bool) *epochSecrets {
	if pskSecret.IsZero() {
		pskSecret = zeros(s)
	}
	intermediate := s.Extract(joiner, pskSecret)
	defer intermediate.Erase()
	epoch := s.ExpandWithLabel(intermediate, "epoch", context, s.HashSize())
	defer epoch.Erase()
	e := secretsFromEpoch(s, epoch, agreement)
	e.joiner = joiner
	e.welcome = s.DeriveSecret(intermediate, "welcome")
	return e
}

// secretsFromEpoch derives everything below epoch_secret.
func secretsFromEpoch(s *suite.Suite, epoch secret.Key, agreement bool) *epochSecrets {
	e := &epochSecrets{
		senderData:    s.DeriveSecret(epoch, "sender data"),
		encryption:    s.DeriveSecret(epoch, "encryption"),
		exporter:      s.DeriveSecret(epoch, "exporter"),
		external:      s.DeriveSecret(epoch, "external"),
		confirmation:  s.DeriveSecret(epoch, "confirm"),
		membership:    s.DeriveSecret(epoch, "membership"),
		resumption:    s.DeriveSecret(epoch, "resumption"),
		authenticator: s.DeriveSecret(epoch, "authentication"),
	}
	if agreement {
		e.parentInit = s.DeriveSecret(epoch, labelParentInit)
	} else {
		e.init = s.DeriveSecret(epoch, "init")
	}
	return e
}

// eraseTransient overwrites what nobody needs once the epoch has begun.
func (e *epochSecrets) eraseTransient() {
	e.joiner.Erase()
	e.welcome.Erase()
	e.confirmation.Erase()
}

// welcomeSecret derives welcome_secret alone, which a joiner needs before it
// knows the group context.
func welcomeSecret(s *suite.Suite, joiner, pskSecret secret.Key) secret.Key {
	if pskSecret.IsZero() {
		pskSecret = zeros(s)
	}
	intermediate := s.Extract(joiner, pskSecret)
	defer intermediate.Erase()
	return s.DeriveSecret(intermediate, "welcome")
}

// welcomeKeyNonce derives what encrypts the GroupInfo of a Welcome (RFC 9420,
// Section 12.4.3.1).
func welcomeKeyNonce(s *suite.Suite, welcome secret.Key) (key secret.Key, nonce []byte) {
	return s.ExpandWithLabel(welcome, "key", nil, s.AEAD().KeySize()),
		s.ExpandWithLabel(welcome, "nonce", nil, suite.NonceSize).Bytes()
}

// mlsExport is MLS-Exporter (RFC 9420, Section 8.5).
func mlsExport(s *suite.Suite, exporter secret.Key, label string, context []byte, n int) secret.Key {
	derived := s.DeriveSecret(exporter, label)
	defer derived.Erase()
	return s.ExpandWithLabel(derived, "exported", s.Hash(context), n)
}

func zeros(s *suite.Suite) secret.Key { return secret.New(make([]byte, s.HashSize())) }

// confirmedTranscriptHash and interimTranscriptHash are RFC 9420, Section 8.2.
func confirmedTranscriptHash(s *suite.Suite, interimBefore []byte, c *authContent) []byte {
	in := wire.AppendUint16(nil, uint16(c.wireFormat))
	in = c.content.append(in)
	in = wire.AppendVec(in, c.auth.signature)
	return s.Hash(interimBefore, in)
}

func interimTranscriptHash(s *suite.Suite, confirmed, confirmationTag []byte) []byte {
	return s.Hash(confirmed, wire.AppendVec(nil, confirmationTag))
}

// PSKType is the kind of a pre-shared key (RFC 9420, Section 8.4).
type PSKType uint8

// Kinds of pre-shared keys.
const (
	PSKExternal   PSKType = 1
	PSKResumption PSKType = 2
)

// ResumptionUsage says what a resumption PSK is for (RFC 9420, Section 8.4).
type ResumptionUsage uint8

// Usages of resumption PSKs.
const (
	ResumptionApplication ResumptionUsage = 1
	ResumptionReInit      ResumptionUsage = 2
	ResumptionBranch      ResumptionUsage = 3
)

// PreSharedKeyID names a pre-shared key (RFC 9420, Section 8.4).
type PreSharedKeyID struct {
	Type    PSKType
	ID      []byte          // external only
	Usage   ResumptionUsage // resumption only
	GroupID []byte          // resumption only
	Epoch   uint64          // resumption only
	Nonce   []byte          // Nh random bytes
}

func (p *PreSharedKeyID) append(b []byte) []byte {
	b = wire.AppendUint8(b, uint8(p.Type))
	if p.Type == PSKExternal {
		b = wire.AppendVec(b, p.ID)
	} else {
		b = wire.AppendUint8(b, uint8(p.Usage))
		b = wire.AppendVec(b, p.GroupID)
		b = wire.AppendUint64(b, p.Epoch)
	}
	return wire.AppendVec(b, p.Nonce)
}

func readPreSharedKeyID(r *wire.Reader) PreSharedKeyID {
	p := PreSharedKeyID{Type: PSKType(r.Uint8())}
	switch p.Type {
	case PSKExternal:
		p.ID = r.VecMax(MaxPSKID)
	case PSKResumption:
		p.Usage = ResumptionUsage(r.Uint8())
		if p.Usage < ResumptionApplication || p.Usage > ResumptionBranch {
			r.Fail(wire.ErrValue)
		}
		p.GroupID = r.VecMax(MaxGroupID)
		p.Epoch = r.Uint64()
	default:
		r.Fail(wire.ErrValue)
	}
	p.Nonce = r.Vec()
	return p
}

// psk is a pre-shared key with its name.
type psk struct {
	id  PreSharedKeyID
	key secret.Key
}

// pskSecret chains pre-shared keys (RFC 9420, Section 8.4). Without any it is a
// string of zeros.
func pskSecret(s *suite.Suite, psks []psk) secret.Key {
	out := zeros(s)
	for i, p := range psks {
		extracted := s.Extract(zeros(s), p.key)
		label := p.id.append(nil)
		label = wire.AppendUint16(label, uint16(i))
		label = wire.AppendUint16(label, uint16(len(psks)))
		input := s.ExpandWithLabel(extracted, "derived psk", label, s.HashSize())
		out = s.Extract(input, out)
		extracted.Erase()
		input.Erase()
	}
	return out
}
