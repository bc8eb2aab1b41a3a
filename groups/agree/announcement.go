package agree

import (
	"bytes"

	"github.com/parley-im/parley/internal/wire"
)

// Announcement comes with a commit: by it the committer's device binds the CID to
// the epoch it was made in, and to the beacon key of the epoch it begins. The
// commit itself cannot: the key follows from secrets that depend on it. A commit
// without a valid one is invalid.
type Announcement struct {
	GroupID []byte
	Account Account
	Device  Device
	Parent  CID
	CID     CID
	Beacon  []byte // public key, at most [MaxKey] bytes
	// Signature is Sign("commit", m) by the device.
	Signature []byte
}

// SignedPart returns m:
//
//	struct {
//	    ...                  // version, group_id, account, device
//	    opaque parent[32];
//	    opaque cid[32];
//	    LP beacon;
//	} AnnouncementContent;
func (a *Announcement) SignedPart() []byte {
	b := author{a.GroupID, a.Account, a.Device}.append(nil)
	b = append(b, a.Parent[:]...)
	b = append(b, a.CID[:]...)
	return wire.AppendLP(b, a.Beacon)
}

func (a *Announcement) append(b []byte) []byte {
	return wire.AppendLP(append(b, a.SignedPart()...), a.Signature)
}

// Marshal returns the announcement:
//
//	struct {
//	    AnnouncementContent content;
//	    LP signature;
//	} Announcement;
func (a *Announcement) Marshal() []byte { return a.append(nil) }

func readAnnouncement(r *wire.Reader) *Announcement {
	from := readAuthor(r)
	a := &Announcement{GroupID: from.groupID, Account: from.account, Device: from.device}
	r.Copy(a.Parent[:])
	r.Copy(a.CID[:])
	a.Beacon = bytes.Clone(r.LP(MaxKey))
	a.Signature = bytes.Clone(r.LP(MaxSignature))
	return a
}

// ParseAnnouncement decodes what [Announcement.Marshal] makes. It returns
// [ErrMalformed] for anything else. Nothing is verified.
func ParseAnnouncement(data []byte) (*Announcement, error) {
	r := wire.NewReader(data)
	a := readAnnouncement(r)
	if err := r.Done(); err != nil {
		return nil, malformed("announcement", err)
	}
	return a, nil
}

// Verify returns [ErrWrongGroup] or [ErrSignature].
func (a *Announcement) Verify(groupID []byte, v Verifier) error {
	return signedBy(author{a.GroupID, a.Account, a.Device}, groupID, v, LabelAnnouncement, a.SignedPart(), a.Signature)
}

// Equivocation proves that a device made two commits in one epoch, or promised
// one epoch two beacon keys: two announcements of one device and parent that
// differ. It convicts the device whatever the commits are worth.
type Equivocation struct{ First, Second *Announcement }

// NewEquivocation returns the proof that two announcements make, or
// [ErrMalformed] if they make none.
func NewEquivocation(a, b *Announcement) (*Equivocation, error) {
	order := bytes.Compare(a.SignedPart(), b.SignedPart())
	if order == 0 || a.Device != b.Device || a.Account != b.Account || a.Parent != b.Parent || !bytes.Equal(a.GroupID, b.GroupID) {
		return nil, malformed("equivocation", wire.ErrValue)
	}
	if order > 0 {
		a, b = b, a
	}
	return &Equivocation{a, b}, nil
}

// Marshal returns the proof: the two announcements, the lower content first.
func (e *Equivocation) Marshal() []byte { return e.Second.append(e.First.append(nil)) }

// ParseEquivocation decodes what [Equivocation.Marshal] makes. It returns
// [ErrMalformed] for anything else, and for what proves nothing. No signature is
// verified.
func ParseEquivocation(data []byte) (*Equivocation, error) {
	r := wire.NewReader(data)
	a, b := readAnnouncement(r), readAnnouncement(r)
	if err := r.Done(); err != nil {
		return nil, malformed("equivocation", err)
	}
	e, err := NewEquivocation(a, b)
	if err == nil && e.First != a {
		err = malformed("equivocation", wire.ErrValue)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Verify returns [ErrWrongGroup] or [ErrSignature].
func (e *Equivocation) Verify(groupID []byte, v Verifier) error {
	if err := e.First.Verify(groupID, v); err != nil {
		return err
	}
	return e.Second.Verify(groupID, v)
}
