package groups

import (
	"crypto/sha256"

	"github.com/parley-im/parley/internal/wire"
)

// CID names an epoch: the SHA-256 of the commit that began it, or of the group
// id where the group was created. Two commits on one epoch have one epoch number
// and two CIDs.
type CID [sha256.Size]byte

// labelCreation separates the CID of a group's first epoch from those of
// commits.
const labelCreation = "parley/1 group created"

// CreationCID returns the CID of epoch 0 of a group.
func CreationCID(groupID []byte) CID {
	return sha256.Sum256(wire.AppendLP(wire.AppendLP(nil, []byte(labelCreation)), groupID))
}

// CommitCID returns the CID of the epoch that a commit begins: of a commit in a
// PublicMessage, commit is the MLSMessage as sent; of one in a PrivateMessage, it
// is the AuthenticatedContent (RFC 9420, Section 6) that was encrypted.
func CommitCID(commit []byte) CID { return sha256.Sum256(commit) }

// commitCID is CommitCID of a commit that was sent as msg. A PublicMessage is all
// signed, or follows from what is. A PrivateMessage is not: whoever holds the
// epoch's keys can encrypt its content anew, with another guard or padding, and
// members must not have two names for one epoch.
func commitCID(msg []byte, a *authContent) CID {
	if a.wireFormat == WirePrivateMessage {
		return CommitCID(a.marshal())
	}
	return CommitCID(msg)
}

// Rows is where the moving part of an epoch lives: ratchets, skipped keys,
// proposals that wait. The caller implements it over a transaction of its
// store, so that what a call changes and what it makes (a ciphertext to send, a
// plaintext to keep) are written together or not at all.
//
// A call of this package puts and deletes only after everything else in it has
// succeeded. If Put or Delete fails the call fails, and the caller must roll
// its transaction back. Values hold secrets: seal them. When an epoch is given
// up, delete all rows of its CID.
type Rows interface {
	// Get returns a row, or nil if there is none.
	Get(epoch CID, key RowKey) ([]byte, error)
	// Put writes a row; value is the callee's to keep.
	Put(epoch CID, key RowKey, value []byte) error
	// Delete removes a row, which need not exist.
	Delete(epoch CID, key RowKey) error
}

// RowKey names a row within an epoch. It is opaque to the caller and at most 33
// bytes long. A string of bytes, not of text.
type RowKey string

// MemoryRows are Rows in memory, for tests and for groups that need not
// outlive their process.
type MemoryRows map[CID]map[RowKey][]byte

// Get implements [Rows].
func (m MemoryRows) Get(epoch CID, key RowKey) ([]byte, error) { return m[epoch][key], nil }

// Put implements [Rows].
func (m MemoryRows) Put(epoch CID, key RowKey, value []byte) error {
	if m[epoch] == nil {
		m[epoch] = make(map[RowKey][]byte)
	}
	m[epoch][key] = value
	return nil
}

// Delete implements [Rows].
func (m MemoryRows) Delete(epoch CID, key RowKey) error {
	delete(m[epoch], key)
	return nil
}

// Kinds of rows: the first byte of a RowKey.
const (
	rowNode       = 1 // || node index: a node of the secret tree
	rowRatchet    = 2 // || ratchet type || leaf: a sender's ratchet
	rowSkipped    = 3 // || ratchet type || leaf || generation: key and nonce
	rowSender     = 4 // own counter and hash chain
	rowHandshakes = 5 // own counter of handshake envelopes
	rowPending    = 6 // list of the references of pending proposals
	rowProposal   = 7 // || SHA-256 of the reference: a pending proposal
	rowUpdate     = 8 // || SHA-256 of the reference: keys of an own Update
)

func rowKey(kind byte, fields ...uint32) RowKey {
	b := []byte{kind}
	for _, f := range fields {
		b = wire.AppendUint32(b, f)
	}
	return RowKey(b)
}

func refRowKey(kind byte, ref []byte) RowKey {
	h := sha256.Sum256(ref)
	return RowKey(append([]byte{kind}, h[:]...))
}

// change is one row to write, or to delete where value is nil.
type change struct {
	key   RowKey
	value []byte
}

// changes are staged writes: collected while a call checks, written at its end.
type changes []change

func (c *changes) put(k RowKey, v []byte) { *c = append(*c, change{k, v}) }
func (c *changes) del(k RowKey)           { *c = append(*c, change{key: k}) }

func (c changes) write(rows Rows, epoch CID) error {
	for _, ch := range c {
		var err error
		if ch.value == nil {
			err = rows.Delete(epoch, ch.key)
		} else {
			err = rows.Put(epoch, ch.key, ch.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// staged is rows as they will be when the changes collected so far, all of one
// epoch, are written.
type staged struct {
	Rows
	out *changes
}

// Get implements [Rows].
func (s staged) Get(epoch CID, key RowKey) ([]byte, error) {
	for i := len(*s.out) - 1; i >= 0; i-- {
		if c := (*s.out)[i]; c.key == key {
			return c.value, nil
		}
	}
	return s.Rows.Get(epoch, key)
}
