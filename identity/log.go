package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/wire"
)

const logVersion = 1

var (
	// ErrLog is returned for a log that is malformed or breaks a rule of the
	// chain: a wrong prev or seq, a link that hangs in the air, a limit.
	ErrLog = errors.New("identity: invalid log")
	// ErrLogSignature is returned for a log with a signature that is not of the
	// account's wallet, or not of the device.
	ErrLogSignature = errors.New("identity: bad signature in log")
	// ErrContractWallet is returned for the log of a contract wallet, whose
	// signatures only a chain can check.
	ErrContractWallet = errors.New("identity: the account is a contract wallet, whose log this version cannot verify")
	// ErrOtherAccount is returned when a log, bundle or record is of another
	// account than the one that was wanted.
	ErrOtherAccount = errors.New("identity: is of another account")
	// ErrUnknownDevice is returned for a device that the log does not list.
	ErrUnknownDevice = errors.New("identity: the account has not authorised this device")
	// ErrDeviceRevoked is returned for a device that was revoked; its signing
	// key is never authorised again.
	ErrDeviceRevoked = errors.New("identity: the device was revoked")
	// ErrDeviceExpired is returned for an authorisation that is over, has not
	// begun, or was replaced by a newer one of the same device.
	ErrDeviceExpired = errors.New("identity: the device's authorisation is not valid at this time")
)

// ConflictError is the alert that a log has different links at one seq: the
// wallet's key is used by two who do not know of each other, or was stolen. The
// log stays as it was before Seq until the wallet signs a healing link.
type ConflictError struct {
	Account Account
	Seq     uint64
	Digests [][DigestSize]byte // of the conflicting links, sorted, at least two
	Log     *Log               // the frozen log
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("identity: %s has %d conflicting device links at seq %d (%x and %x): the log is frozen until the wallet heals it",
		e.Account, len(e.Digests), e.Seq, e.Digests[0], e.Digests[1])
}

// AuthorizedDevice is a device as its account's log has it.
type AuthorizedDevice struct {
	Link       [DigestSize]byte // digest of the latest link that authorised it
	Seq        uint64           // of that link
	Name       string
	SigningKey secp.PublicKey
	DHKey      secp.PublicKey
	NotBefore  time.Time
	NotAfter   time.Time
}

// Log is an account's list of devices, verified. It is immutable: what changes
// a log returns another one. It is safe for concurrent use.
//
// A log holds every link it has ever seen. Links form a tree; the walk from the
// root that ends at a head, or at the first conflict nobody healed, is the path.
// Authorisations count on the path only. Revocations count wherever they stand,
// also on a branch that lost: removal wins.
type Log struct {
	account     Account
	entries     []entry          // sorted by seq, then digest
	revocations []selfRevocation // sorted by key, one for each

	// What walk found.
	next     uint64           // seq of the next link
	head     [DigestSize]byte // prev of the next link
	conflict *ConflictError
	devices  []AuthorizedDevice // latest of each key on the path, by seq, revoked ones left out
	links    map[[DigestSize]byte][secp.PublicKeySize]byte
	revoked  map[[secp.PublicKeySize]byte]bool
}

// entry is a link with its digest, which is costly to compute.
type entry struct {
	link   *Link
	digest [DigestSize]byte
}

func (e entry) compare(o entry) int {
	if e.link.Seq != o.link.Seq {
		if e.link.Seq < o.link.Seq {
			return -1
		}
		return 1
	}
	return bytes.Compare(e.digest[:], o.digest[:])
}

// NewLog returns the empty log of an account.
func NewLog(account Account) *Log { return &Log{account: account} }

// Account returns the account whose log it is.
func (l *Log) Account() Account { return l.account }

// Len returns the number of links on the path, which is the next link's seq.
func (l *Log) Len() int { return int(l.next) }

// Conflict returns the conflict that freezes the log, or nil.
func (l *Log) Conflict() *ConflictError { return l.conflict }

// Revoked reports whether the signing key was revoked, by the wallet or by its
// own device.
func (l *Log) Revoked(signingKey secp.PublicKey) bool { return l.revoked[signingKey.Compressed()] }

// Devices lists the devices that are authorised at the given time and not
// revoked, in the order of their links. In a frozen log these are the devices
// from before the conflict.
func (l *Log) Devices(now time.Time) []AuthorizedDevice {
	var out []AuthorizedDevice
	for _, d := range l.devices {
		if d.validAt(now) {
			out = append(out, d)
		}
	}
	return out
}

// Device returns the device with the given link digest. It returns
// [ErrUnknownDevice], [ErrDeviceRevoked] or [ErrDeviceExpired].
func (l *Log) Device(link [DigestSize]byte, now time.Time) (AuthorizedDevice, error) {
	key, ok := l.links[link]
	switch {
	case !ok:
		return AuthorizedDevice{}, ErrUnknownDevice
	case l.revoked[key]:
		return AuthorizedDevice{}, ErrDeviceRevoked
	}
	for _, d := range l.devices {
		if d.Link == link && d.validAt(now) {
			return d, nil
		}
	}
	return AuthorizedDevice{}, ErrDeviceExpired
}

func (d *AuthorizedDevice) validAt(now time.Time) bool {
	return !now.Add(ClockSkew).Before(d.NotBefore) && now.Before(d.NotAfter)
}

// Marshal returns the wire form, at most [MaxLogSize] bytes.
func (l *Log) Marshal() []byte {
	b := wire.AppendUint8(nil, logVersion)
	b = l.account.append(b)
	b = wire.AppendVecFunc(b, func(b []byte) []byte {
		for _, e := range l.entries {
			b = e.link.append(b)
		}
		return b
	})
	return wire.AppendVecFunc(b, func(b []byte) []byte {
		for i := range l.revocations {
			b = l.revocations[i].append(b)
		}
		return b
	})
}

// ParseLog reads and verifies a log in full. It returns [ErrLog],
// [ErrLogSignature] or [ErrContractWallet]. A log with a conflict is returned
// without an error; see Conflict.
func ParseLog(b []byte) (*Log, error) {
	if len(b) > MaxLogSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrLog, MaxLogSize)
	}
	r := wire.NewReader(b)
	if r.Uint8() != logVersion {
		r.Fail(wire.ErrValue)
	}
	account := readAccount(r)
	if r.Err() == nil && account.ChainID != 0 {
		return nil, ErrContractWallet
	}
	var entries []entry
	links := wire.NewReader(r.VecMax(MaxLinksSize))
	for links.More() && len(entries) <= MaxLinks {
		entries = append(entries, entry{link: readLink(links)})
	}
	var revocations []selfRevocation
	if len(entries) <= MaxLinks {
		r.Join(links)
		sub := wire.NewReader(r.VecMax(MaxRevocations * selfRevocationSize))
		for sub.More() {
			revocations = append(revocations, readSelfRevocation(sub))
		}
		r.Join(sub)
	}
	switch err := r.Done(); {
	case len(entries) > MaxLinks:
		return nil, fmt.Errorf("%w: more than %d links", ErrLog, MaxLinks)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrLog, err)
	}

	// The cheap checks come first: signatures cost a hundred times more.
	for i, e := range entries {
		if err := e.link.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLog, err)
		}
		entries[i].digest = e.link.Digest(account)
		if i > 0 && entries[i-1].compare(entries[i]) >= 0 {
			return nil, fmt.Errorf("%w: links are not sorted", ErrLog)
		}
	}
	for i := 1; i < len(revocations); i++ {
		if bytes.Compare(revocations[i-1].signingKey[:], revocations[i].signingKey[:]) >= 0 {
			return nil, fmt.Errorf("%w: self-revocations are not sorted", ErrLog)
		}
	}
	l, err := newLog(account, entries, revocations)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := e.link.verify(account, e.digest); err != nil {
			return nil, err
		}
	}
	for i := range revocations {
		if err := revocations[i].verify(account); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// newLog orders checked links into a log and walks it. It returns [ErrLog] for a
// link that hangs in the air, a revocation of a stranger, or an excess.
func newLog(account Account, entries []entry, revocations []selfRevocation) (*Log, error) {
	l := &Log{account: account, entries: entries, revocations: revocations}
	size := 0
	for _, e := range entries {
		size += len(e.link.append(nil))
	}
	if len(entries) > MaxLinks || size > MaxLinksSize || len(revocations) > MaxRevocations {
		return nil, fmt.Errorf("%w: more than %d links, %d bytes of them, or %d self-revocations",
			ErrLog, MaxLinks, MaxLinksSize, MaxRevocations)
	}
	groups, err := groupLinks(entries)
	if err != nil {
		return nil, err
	}
	l.links = make(map[[DigestSize]byte][secp.PublicKeySize]byte)
	l.revoked = make(map[[secp.PublicKeySize]byte]bool)
	named := make(map[[secp.PublicKeySize]byte]bool)
	for _, e := range entries {
		if e.link.Type == LinkRevoke {
			l.revoked[e.link.SigningKey] = true
		} else {
			named[e.link.SigningKey] = true
		}
	}
	for _, s := range revocations {
		if !named[s.signingKey] {
			// Anyone can sign statements with keys made up for it, and would fill
			// the log.
			return nil, fmt.Errorf("%w: self-revocation of a key that is in no link", ErrLog)
		}
		l.revoked[s.signingKey] = true
	}
	l.walk(groups)
	return l, nil
}

// group names a set of links that compete for one place: those that follow the
// same link, or those that heal the same conflict.
type group struct {
	after [DigestSize]byte // the link before, zero for the first
	heals int              // how many conflicts in a row were healed since
}

// groupLinks sorts links into their groups and checks that each link's place
// exists. entries are sorted by seq.
func groupLinks(entries []entry) (map[group][]entry, error) {
	type place struct {
		seq uint64
		in  group
	}
	places := make(map[[DigestSize]byte]place, len(entries))
	groups := make(map[group][]entry)
	for _, e := range entries {
		var in group
		if len(e.link.Heals) == 0 {
			before, ok := places[e.link.Prev]
			if e.link.Seq > 0 && (!ok || before.seq+1 != e.link.Seq) {
				return nil, fmt.Errorf("%w: link at seq %d does not follow the one before", ErrLog, e.link.Seq)
			}
			in.after = e.link.Prev
		}
		for i, d := range e.link.Heals {
			loser, ok := places[d]
			if !ok || loser.seq+1 != e.link.Seq || i > 0 && (group{loser.in.after, loser.in.heals + 1}) != in {
				return nil, fmt.Errorf("%w: link at seq %d heals what is no conflict", ErrLog, e.link.Seq)
			}
			in = group{loser.in.after, loser.in.heals + 1}
		}
		places[e.digest] = place{e.link.Seq, in}
		groups[in] = append(groups[in], e)
	}
	return groups, nil
}

// walk follows the path and fills in what it finds.
func (l *Log) walk(groups map[group][]entry) {
	var at group
	latest := make(map[[secp.PublicKeySize]byte]AuthorizedDevice)
	for {
		rivals := groups[at]
		if len(rivals) == 0 {
			break
		}
		if len(rivals) > 1 {
			healed := group{at.after, at.heals + 1}
			if len(groups[healed]) == 0 {
				l.conflict = &ConflictError{Account: l.account, Seq: rivals[0].link.Seq, Log: l}
				for _, e := range rivals {
					l.conflict.Digests = append(l.conflict.Digests, e.digest)
				}
				break
			}
			at = healed
			continue
		}
		e := rivals[0]
		l.next, l.head = e.link.Seq+1, e.digest
		at = group{after: e.digest}
		if e.link.Type == LinkAuthorize {
			l.links[e.digest] = e.link.SigningKey
			latest[e.link.SigningKey] = e.device()
		}
	}
	for key, d := range latest {
		if !l.revoked[key] {
			l.devices = append(l.devices, d)
		}
	}
	slices.SortFunc(l.devices, func(a, b AuthorizedDevice) int { return int(a.Seq) - int(b.Seq) })
}

// device returns what an authorisation, whose keys were checked, says.
func (e entry) device() AuthorizedDevice {
	signing, _ := secp.ParsePublicKey(e.link.SigningKey[:])
	dh, _ := secp.ParsePublicKey(e.link.DHKey[:])
	return AuthorizedDevice{
		Link: e.digest, Seq: e.link.Seq, Name: e.link.DeviceName,
		SigningKey: signing, DHKey: dh,
		NotBefore: time.Unix(int64(e.link.NotBefore), 0), NotAfter: time.Unix(int64(e.link.NotAfter), 0),
	}
}

// MergeLogs returns the union of two logs of one account, so that a verifier
// never goes back: nothing that old knows is lost, whatever other is. old may
// be nil. Conflicts come to light here. It returns [ErrOtherAccount], or [ErrLog]
// when the union exceeds a limit; the caller then keeps old.
func MergeLogs(old, other *Log) (*Log, error) {
	if old == nil {
		return other, nil
	}
	if old.account != other.account {
		return nil, ErrOtherAccount
	}
	entries := slices.Concat(old.entries, other.entries)
	slices.SortFunc(entries, func(a, b entry) int {
		if c := a.compare(b); c != 0 {
			return c
		}
		// One link signed twice: all who merge keep the same signature.
		return bytes.Compare(a.link.append(nil), b.link.append(nil))
	})
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.digest == b.digest })

	revocations := slices.Concat(old.revocations, other.revocations)
	slices.SortFunc(revocations, func(a, b selfRevocation) int {
		switch {
		case a.before(&b):
			return -1
		case b.before(&a):
			return 1
		}
		return 0
	})
	revocations = slices.CompactFunc(revocations, func(a, b selfRevocation) bool { return a.signingKey == b.signingKey })
	return newLog(old.account, entries, revocations)
}

// Authorization is what the owner decides about a device.
type Authorization struct {
	Name      string    // at most MaxDeviceName printable ASCII characters
	NotBefore time.Time // zero: always
	NotAfter  time.Time // zero: no end
	// Heal makes the new link end a conflict. Without it a frozen log takes no
	// link.
	Heal bool
}

// AuthorizeDevice asks the wallet to authorise the device and returns the log
// with the new link. Authorising a device again renews it. It returns
// [ErrDeviceRevoked] for a device that was revoked before, a *[ConflictError] for
// a frozen log, [ErrLink] for a bad name or period, [ErrWallet] for a bad
// signature, and what the wallet returns.
func AuthorizeDevice(ctx context.Context, l *Log, w Wallet, d *Device, a Authorization) (*Log, error) {
	k := &Link{
		Type:       LinkAuthorize,
		SigningKey: d.Signing.PublicKey().Compressed(),
		DHKey:      d.DH.PublicKey().Compressed(),
		DeviceName: a.Name,
		NotAfter:   maxTime,
		Scheme:     SchemeTypedData,
	}
	if l.revoked[k.SigningKey] {
		return nil, ErrDeviceRevoked
	}
	if len(l.entries) >= MaxLinks-reservedLinks && !a.Heal {
		return nil, fmt.Errorf("%w: full, the %d places left are for revocations", ErrLog, MaxLinks-len(l.entries))
	}
	if !a.NotBefore.IsZero() {
		k.NotBefore = unix(a.NotBefore)
	}
	if !a.NotAfter.IsZero() {
		k.NotAfter = unix(a.NotAfter)
	}
	return l.extend(ctx, w, k, a.Heal, d.Signing)
}

// RevokeDevice asks the wallet to revoke a signing key for ever and returns the
// log with the new link. heal is as in [Authorization]. Its errors are those of
// [AuthorizeDevice].
func RevokeDevice(ctx context.Context, l *Log, w Wallet, signingKey secp.PublicKey, reason Reason, now time.Time, heal bool) (*Log, error) {
	return l.extend(ctx, w, &Link{
		Type:       LinkRevoke,
		SigningKey: signingKey.Compressed(),
		Reason:     reason,
		RevokedAt:  unix(now),
		Scheme:     SchemeTypedData,
	}, heal, nil)
}

// RevokeSelf returns the log with the terminal statement of a device about
// itself, which needs no wallet. It returns [ErrUnknownDevice] for a device that
// no link names.
func RevokeSelf(l *Log, d *Device, now time.Time) (*Log, error) {
	s := selfRevocation{signingKey: d.Signing.PublicKey().Compressed(), revokedAt: unix(now)}
	if !slices.ContainsFunc(l.entries, func(e entry) bool {
		return e.link.Type == LinkAuthorize && e.link.SigningKey == s.signingKey
	}) {
		return nil, ErrUnknownDevice
	}
	s.signature = d.Signing.Sign(labelRevoke, s.content(l.account))
	return MergeLogs(l, &Log{account: l.account, revocations: []selfRevocation{s}})
}

// extend gives the link its place after the head, has it signed, and returns the
// log with it. device is nil for a revocation.
func (l *Log) extend(ctx context.Context, w Wallet, k *Link, heal bool, device *secp.PrivateKey) (*Log, error) {
	switch {
	case l.account.ChainID != 0:
		return nil, ErrContractWallet
	case w.Address() != l.account.Address:
		return nil, fmt.Errorf("%w: the wallet is %s, the account %s", ErrWallet, w.Address(), l.account)
	}
	k.Seq, k.Prev = l.next, l.head
	if l.conflict != nil {
		if !heal {
			return nil, l.conflict
		}
		k.Seq = l.conflict.Seq + 1
		k.Heals = slices.Clone(l.conflict.Digests[:min(len(l.conflict.Digests), MaxHeals)])
		k.Prev = healPrev(k.Heals)
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	e := entry{k, k.Digest(l.account)}
	if device != nil {
		k.DeviceSignature = device.Sign(labelDevice, e.digest[:])
	}
	// A log that is full is found out before a person is asked.
	if _, err := MergeLogs(l, &Log{account: l.account, entries: []entry{e}}); err != nil {
		return nil, err
	}
	if err := k.askWallet(ctx, w, l.account, e.digest); err != nil {
		return nil, err
	}
	return MergeLogs(l, &Log{account: l.account, entries: []entry{e}})
}

// askWallet has the wallet sign the link, by EIP-191 if it cannot do EIP-712,
// and checks what it returns.
func (k *Link) askWallet(ctx context.Context, w Wallet, account Account, digest [DigestSize]byte) error {
	sig, err := w.SignTypedData(ctx, k.TypedData(account))
	if tw, ok := w.(TextWallet); ok && errors.Is(err, ErrNoTypedData) {
		k.Scheme = SchemeText
		sig, err = tw.SignText(ctx, LinkText(digest))
	}
	if err != nil {
		return fmt.Errorf("identity: asking the wallet: %w", err)
	}
	if len(sig) != WalletSignatureSize {
		return ErrWallet
	}
	k.WalletSignature = [WalletSignatureSize]byte(sig)
	// Wallets write 27 and 28; the log has one form only.
	if v := &k.WalletSignature[64]; *v == 27 || *v == 28 {
		*v -= 27
	}
	if err := k.verify(account, digest); err != nil {
		return fmt.Errorf("%w: %w", ErrWallet, err)
	}
	return nil
}
