package groups

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

// epoch is what it takes to open one epoch's application messages and
// envelopes: what the head and a past epoch have in common.
type epoch struct {
	suite   *suite.Suite
	cid     CID
	groupID []byte
	number  uint64
	context []byte // the encoded GroupContext, which signatures cover
	width   uint32 // leaves, blank ones included
	self    LeafIndex
	plain   bool // a group of RFC 9420 alone, without roles

	senderData   secret.Key
	envelopeKey  secret.Key
	tagKey       secret.Key
	handshakeKey secret.Key
}

// Labels of what this package takes from the exporter of every epoch. The
// context is empty and the length 32.
const (
	labelEnvelope     = "parley/1 envelope"
	labelTag          = "parley/1 tag"
	labelHandshakeTag = "parley/1 handshake tag"

	exportedKeySize = 32
)

// deriveKeys fills in what comes from the epoch's exporter.
func (e *epoch) deriveKeys(exporter secret.Key) {
	e.envelopeKey = mlsExport(e.suite, exporter, labelEnvelope, nil, exportedKeySize)
	e.tagKey = mlsExport(e.suite, exporter, labelTag, nil, exportedKeySize)
	e.handshakeKey = mlsExport(e.suite, exporter, labelHandshakeTag, nil, exportedKeySize)
}

func (e *epoch) secretTree(rows Rows) *secretTree {
	return &secretTree{suite: e.suite, epoch: e.cid, leaves: e.width, rows: rows}
}

// fits checks that a framed message is of this group and epoch.
func (e *epoch) fits(groupID []byte, number uint64) error {
	if !bytes.Equal(groupID, e.groupID) {
		return ErrWrongGroup
	}
	if number != e.number {
		return &EpochError{Have: e.number, Got: number}
	}
	return nil
}

// AppHeader numbers and chains one sender's application messages of an epoch,
// so that receivers see gaps. It is the authenticated_data of the message:
//
//	struct {
//	    uint64 n;
//	    opaque prev[32];
//	} AppHeader;
//
// It is visible to who can open the envelope, and bound to the message.
type AppHeader struct {
	N    uint64   // 0 for the sender's first message of the epoch, then 1 more each
	Prev [32]byte // hash of the sender's message before, zero for the first
}

const appHeaderSize = 8 + sha256.Size

func (h *AppHeader) marshal() []byte {
	return append(wire.AppendUint64(make([]byte, 0, appHeaderSize), h.N), h.Prev[:]...)
}

func parseAppHeader(b []byte) (AppHeader, error) {
	r := wire.NewReader(b)
	h := AppHeader{N: r.Uint64()}
	r.Copy(h.Prev[:])
	if err := r.Done(); err != nil {
		return AppHeader{}, malformed(err)
	}
	return h, nil
}

// hash is that of an application message, by which the sender's next one refers
// to it: SHA-256 of the AuthenticatedContent. The MLSMessage is not fixed by what
// is signed: whoever holds the epoch's keys can encrypt its content anew, and
// would make it look as if the sender had sent two.
func (a *authContent) hash() [32]byte { return sha256.Sum256(a.marshal()) }

// Application is an application message that was opened.
type Application struct {
	Sender    Member
	Header    AppHeader
	Hash      [32]byte // what the sender's next Prev is
	Plaintext []byte
	// AuthenticatedData is the encoded header, or, in a group without roles,
	// whatever the sender put there.
	AuthenticatedData []byte
}

// members looks a leaf up.
type members interface {
	Member(leaf LeafIndex) (Member, bool)
}

// unprotect opens an application message, and writes the consumption of its key.
func (e *epoch) unprotect(rows Rows, from members, msg []byte) (*Application, error) {
	m, err := parseMessage(bytes.Clone(msg))
	if err != nil {
		return nil, err
	}
	if m.wireFormat != WirePrivateMessage || m.private.contentType != ContentApplication {
		return nil, fmt.Errorf("%w: not an application message", ErrMalformed)
	}
	a, sender, _, out, err := e.decrypt(rows, from, m.private)
	if err != nil {
		return nil, err
	}
	app, err := e.application(a, sender)
	if err != nil {
		return nil, err
	}
	return app, out.write(rows, e.cid)
}

// decrypt opens and verifies a PrivateMessage, and stages the consumption of
// its key, whose generation it returns.
func (e *epoch) decrypt(rows Rows, from members, m *privateMessage) (*authContent, Member, uint32, changes, error) {
	fail := func(err error) (*authContent, Member, uint32, changes, error) { return nil, Member{}, 0, nil, err }
	if err := e.fits(m.groupID, m.epoch); err != nil {
		return fail(err)
	}
	sd, err := openSenderData(e.suite, e.senderData, m)
	if err != nil {
		return fail(err)
	}
	if LeafIndex(sd.leaf) == e.self {
		return fail(ErrOwnMessage)
	}
	sender, ok := from.Member(LeafIndex(sd.leaf))
	if !ok {
		return fail(fmt.Errorf("%w: sender at leaf %d", ErrNotMember, sd.leaf))
	}
	var out changes
	k, err := e.secretTree(rows).at(ratchetFor(m.contentType), sd.leaf, sd.generation, &out)
	if err != nil {
		return fail(err)
	}
	defer k.key.Erase()
	a, err := openPrivate(e.suite, k, sd, m)
	if err != nil {
		return fail(err)
	}
	if err := a.verify(e.suite, sender.SignatureKey, e.context); err != nil {
		return fail(err)
	}
	return a, sender, sd.generation, out, nil
}

func (e *epoch) application(a *authContent, sender Member) (*Application, error) {
	app := &Application{
		Sender:            sender,
		Hash:              a.hash(),
		Plaintext:         a.content.application,
		AuthenticatedData: a.content.authenticatedData,
	}
	var err error
	if app.Header, err = parseAppHeader(app.AuthenticatedData); err != nil && !e.plain {
		return nil, fmt.Errorf("application header: %w", err)
	}
	return app, nil
}
