package identity

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/signer/core/apitypes"
	"pgregory.net/rapid"
)

func TestLogLife(t *testing.T) {
	w, laptop, phone := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	l := NewLog(KeyAccount(w.Address()))
	if len(l.Devices(testNow)) != 0 || l.Len() != 0 {
		t.Fatal("an empty log is not empty")
	}
	l = authorize(t, l, w, laptop)
	l = authorize(t, l, w, phone)
	devices := l.Devices(testNow)
	if len(devices) != 2 || !devices[0].SigningKey.Equal(laptop.Signing.PublicKey()) || !devices[1].DHKey.Equal(phone.DH.PublicKey()) {
		t.Fatalf("devices are %v", devices)
	}
	lost := devices[1].Link
	if d, err := l.Device(lost, testNow); err != nil || d.Seq != 1 || d.Name != "laptop" {
		t.Fatalf("got %v, %v", d, err)
	}
	_, err := l.Device([32]byte{1}, testNow)
	wantError(t, err, ErrUnknownDevice)

	before := l.Marshal()
	r := revoke(t, l, w, phone)
	if !bytes.Equal(before, l.Marshal()) {
		t.Fatal("a revocation changed the old log")
	}
	_, err = r.Device(lost, testNow)
	wantError(t, err, ErrDeviceRevoked)
	if len(r.Devices(testNow)) != 1 || r.Len() != 3 || !r.Revoked(phone.Signing.PublicKey()) || r.Revoked(laptop.Signing.PublicKey()) {
		t.Fatal("the revocation has no effect")
	}
	_, err = AuthorizeDevice(context.Background(), r, w, phone, Authorization{})
	wantError(t, err, ErrDeviceRevoked)

	back, err := ParseLog(r.Marshal())
	noError(t, err)
	if !bytes.Equal(back.Marshal(), r.Marshal()) || back.Len() != 3 || len(back.Devices(testNow)) != 1 {
		t.Fatal("the log changes when stored")
	}
}

func TestLogPeriods(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	from, to := testNow, testNow.Add(time.Hour)
	l, err := AuthorizeDevice(context.Background(), NewLog(KeyAccount(w.Address())), w, d, Authorization{NotBefore: from, NotAfter: to})
	noError(t, err)
	link := l.head
	for _, c := range []struct {
		now time.Time
		ok  bool
	}{
		{from.Add(-ClockSkew - time.Second), false},
		{from.Add(-ClockSkew), true},
		{to.Add(-time.Second), true},
		{to, false},
	} {
		_, err := l.Device(link, c.now)
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrDeviceExpired)) || (len(l.Devices(c.now)) == 1) != c.ok {
			t.Errorf("at %v: %v", c.now, err)
		}
	}
	// A renewal replaces the link before.
	l = authorize(t, l, w, d)
	_, err = l.Device(link, from)
	wantError(t, err, ErrDeviceExpired)
	_, err = l.Device(l.head, to)
	noError(t, err)
	if len(l.Devices(from)) != 1 {
		t.Error("a renewed device comes twice")
	}
	_, err = AuthorizeDevice(context.Background(), l, w, d, Authorization{NotBefore: to, NotAfter: from})
	wantError(t, err, ErrLink)
	_, err = AuthorizeDevice(context.Background(), l, w, d, Authorization{Name: "ünder"})
	wantError(t, err, ErrLink)
}

func TestSelfRevocation(t *testing.T) {
	w, d, other := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	_, err := RevokeSelf(l, other, testNow)
	wantError(t, err, ErrUnknownDevice)
	r, err := RevokeSelf(l, d, testNow)
	noError(t, err)
	_, err = r.Device(l.head, testNow)
	wantError(t, err, ErrDeviceRevoked)
	if len(r.Devices(testNow)) != 0 || r.Len() != 1 {
		t.Fatal("the statement has no effect, or took a seq")
	}
	_, err = AuthorizeDevice(context.Background(), r, w, d, Authorization{})
	wantError(t, err, ErrDeviceRevoked)
	back, err := ParseLog(r.Marshal())
	noError(t, err)
	if !back.Revoked(d.Signing.PublicKey()) {
		t.Fatal("the statement is lost when stored")
	}

	// Even a wallet that does not know of the statement cannot bring the key back.
	again := authorize(t, l, w, d)
	m, err := MergeLogs(again, r)
	noError(t, err)
	if m.Len() != 2 || len(m.Devices(testNow)) != 0 {
		t.Fatal("a revoked key was authorised again")
	}

	// Of two statements the earlier stays, in whichever order they are merged.
	later, err := RevokeSelf(l, d, testNow.Add(time.Hour))
	noError(t, err)
	for _, pair := range [][2]*Log{{r, later}, {later, r}} {
		m, err := MergeLogs(pair[0], pair[1])
		noError(t, err)
		if !bytes.Equal(m.Marshal(), r.Marshal()) {
			t.Error("the later statement won")
		}
	}
}

func TestSelfRevocationRejects(t *testing.T) {
	w, d, other := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	l := authorize(t, NewLog(KeyAccount(w.Address())), w, d)
	r, err := RevokeSelf(l, d, testNow)
	noError(t, err)
	good := r.revocations[0]

	forged := good
	forged.revokedAt++
	foreign := good
	foreign.signature = d.Signing.Sign(labelRevoke, good.content(Account{Address{1}, 0}))
	label := good
	label.signature = d.Signing.Sign(labelDevice, good.content(l.account))
	stranger := selfRevocation{signingKey: other.Signing.PublicKey().Compressed()}
	stranger.signature = other.Signing.Sign(labelRevoke, stranger.content(l.account))
	noPoint := good
	noPoint.signingKey[0] = 7
	for name, c := range map[string]struct {
		revocations []selfRevocation
		want        error
	}{
		"forged":          {[]selfRevocation{forged}, ErrLogSignature},
		"another account": {[]selfRevocation{foreign}, ErrLogSignature},
		"another label":   {[]selfRevocation{label}, ErrLogSignature},
		"stranger":        {[]selfRevocation{stranger}, ErrLog},
		"not a point":     {[]selfRevocation{noPoint}, ErrLog},
		"twice":           {[]selfRevocation{good, good}, ErrLog},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseLog((&Log{account: l.account, entries: l.entries, revocations: c.revocations}).Marshal())
			wantError(t, err, c.want)
		})
	}
}

// Each log breaks one rule; the signatures are all good unless that is the rule.
func TestParseLogRejects(t *testing.T) {
	w, a, b := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	thief, err := GenerateWallet()
	noError(t, err)
	account := KeyAccount(w.Address())
	first := signed(t, &Link{Type: LinkAuthorize}, w, a)
	d0 := first.Digest(account)
	next := func(k Link) *Link { return signed(t, &k, w, b) }
	flip := func(k *Link, f func(*Link)) *Link { c := *k; f(&c); return &c }
	second := next(Link{Type: LinkAuthorize, Seq: 1, Prev: d0})
	noError(t, func() error { _, err := ParseLog(rawLog(account, first, second)); return err }())

	highS := flip(first, func(k *Link) {
		// n - s with the other v recovers to the same key.
		negateS(k.WalletSignature[32:64])
		k.WalletSignature[64] ^= 1
	})
	healing := Link{Type: LinkAuthorize, Seq: 1, Heals: [][32]byte{d0, {0xff}}}
	slices.SortFunc(healing.Heals, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	healing.Prev = healPrev(healing.Heals)

	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"no first link":         {rawLog(account, second), ErrLog},
		"a gap":                 {rawLog(account, first, next(Link{Type: LinkAuthorize, Seq: 2, Prev: d0})), ErrLog},
		"wrong prev":            {rawLog(account, first, next(Link{Type: LinkAuthorize, Seq: 1, Prev: [32]byte{1}})), ErrLog},
		"twice":                 {rawLog(account, first, first), ErrLog},
		"heals nothing":         {rawLog(account, first, next(healing)), ErrLog},
		"bad field":             {rawLog(account, flip(first, func(k *Link) { k.NotAfter = 0 })), ErrLog},
		"by another wallet":     {rawLog(account, signed(t, &Link{Type: LinkAuthorize}, thief, a)), ErrLogSignature},
		"of another account":    {rawLog(KeyAccount(thief.Address()), first), ErrLogSignature},
		"flipped wallet":        {rawLog(account, flip(first, func(k *Link) { k.WalletSignature[3] ^= 1 })), ErrLogSignature},
		"v of 27":               {rawLog(account, flip(first, func(k *Link) { k.WalletSignature[64] += 27 })), ErrLogSignature},
		"high s":                {rawLog(account, highS), ErrLogSignature},
		"text for typed data":   {rawLog(account, flip(first, func(k *Link) { k.Scheme = SchemeText })), ErrLogSignature},
		"device did not sign":   {rawLog(account, flip(first, func(k *Link) { k.DeviceSignature = [64]byte{} })), ErrLogSignature},
		"another device's key":  {rawLog(account, flip(first, func(k *Link) { k.DeviceSignature = b.Signing.Sign(labelDevice, d0[:]) })), ErrLogSignature},
		"device, another label": {rawLog(account, flip(first, func(k *Link) { k.DeviceSignature = a.Signing.Sign(labelBundle, d0[:]) })), ErrLogSignature},
		"changed name":          {rawLog(account, flip(first, func(k *Link) { k.DeviceName = "x" })), ErrLogSignature},
		"contract wallet":       {rawLog(Account{w.Address(), 1}, first), ErrContractWallet},
		"version":               {append([]byte{2}, rawLog(account, first)[1:]...), ErrLog},
		"too long":              {make([]byte, MaxLogSize+1), ErrLog},
		"unsorted":              {(&Log{account: account, entries: []entry{{second, second.Digest(account)}, {first, d0}}}).Marshal(), ErrLog},
	} {
		_, err := ParseLog(c.in)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// negateS replaces s by the group order less s.
func negateS(s []byte) {
	order := []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xba\xae\xdc\xe6\xaf\x48\xa0\x3b\xbf\xd2\x5e\x8c\xd0\x36\x41\x41")
	borrow := 0
	for i := 31; i >= 0; i-- {
		v := int(order[i]) - int(s[i]) - borrow
		borrow = 0
		if v < 0 {
			v, borrow = v+256, 1
		}
		s[i] = byte(v)
	}
}

func TestParseLogPrefixes(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := revoke(t, authorize(t, authorize(t, NewLog(KeyAccount(w.Address())), w, d), w, testDevice(t, 11)), w, d)
	l, err := RevokeSelf(l, testDevice(t, 11), testNow)
	noError(t, err)
	prefixesFail(t, l.Marshal(), ErrLog, func(b []byte) error { _, err := ParseLog(b); return err })
	if len(NewLog(l.account).Marshal()) != 55 {
		t.Error("the empty log has another size than the specification says")
	}
}

// Two who hold the wallet's key and do not know of each other.
func TestConflict(t *testing.T) {
	w, a, b, c := testWallet(t), testDevice(t, 1), testDevice(t, 11), testDevice(t, 21)
	base := authorize(t, NewLog(KeyAccount(w.Address())), w, a)
	mine := authorize(t, base, w, b)
	mine = authorize(t, mine, w, testDevice(t, 31))
	theirs := authorize(t, base, w, c)

	frozen, err := MergeLogs(mine, theirs)
	noError(t, err)
	conflict := frozen.Conflict()
	if conflict == nil || conflict.Seq != 1 || len(conflict.Digests) != 2 || conflict.Log != frozen || conflict.Account != base.account {
		t.Fatalf("conflict is %v", conflict)
	}
	if !slices.Contains(conflict.Digests, theirs.head) || bytes.Compare(conflict.Digests[0][:], conflict.Digests[1][:]) >= 0 {
		t.Error("the alert does not name both links, sorted")
	}
	for _, d := range conflict.Digests {
		if !strings.Contains(conflict.Error(), hex.EncodeToString(d[:])) {
			t.Errorf("the alert does not name both links: %v", conflict)
		}
	}
	if got := frozen.Devices(testNow); len(got) != 1 || !got[0].SigningKey.Equal(a.Signing.PublicKey()) {
		t.Errorf("devices of the frozen log are %v", got)
	}
	_, err = frozen.Device(theirs.head, testNow)
	wantError(t, err, ErrUnknownDevice)

	// The frozen log survives storage, and takes no link.
	frozen, err = ParseLog(frozen.Marshal())
	noError(t, err)
	_, err = AuthorizeDevice(context.Background(), frozen, w, b, Authorization{})
	if ce := new(ConflictError); !errors.As(err, &ce) || ce.Seq != 1 {
		t.Fatalf("got %v, want the conflict", err)
	}
	_, err = RevokeDevice(context.Background(), frozen, w, a.Signing.PublicKey(), 0, testNow, false)
	if ce := new(ConflictError); !errors.As(err, &ce) {
		t.Fatalf("got %v, want the conflict", err)
	}
	// A device may always leave.
	_, err = RevokeSelf(frozen, a, testNow)
	noError(t, err)

	healed, err := AuthorizeDevice(context.Background(), frozen, w, b, Authorization{Heal: true})
	noError(t, err)
	if healed.Conflict() != nil || healed.Len() != 3 {
		t.Fatalf("after healing: %v, %d links", healed.Conflict(), healed.Len())
	}
	if got := healed.Devices(testNow); len(got) != 2 || !got[1].SigningKey.Equal(b.Signing.PublicKey()) {
		t.Errorf("devices of the healed log are %v", got)
	}
	healed, err = ParseLog(healed.Marshal())
	noError(t, err)

	// A third link that turns up late changes nothing any more.
	late := authorize(t, base, w, testDevice(t, 41))
	same, err := MergeLogs(healed, late)
	noError(t, err)
	if same.Conflict() != nil || len(same.Devices(testNow)) != 2 {
		t.Error("a link older than the healing froze the log again")
	}

	// Two who heal differently are in conflict again, which can be healed too.
	other, err := AuthorizeDevice(context.Background(), frozen, w, c, Authorization{Heal: true})
	noError(t, err)
	twice, err := MergeLogs(healed, other)
	noError(t, err)
	if twice.Conflict() == nil || twice.Conflict().Seq != 2 {
		t.Fatalf("two healings: %v", twice.Conflict())
	}
	end, err := RevokeDevice(context.Background(), twice, w, c.Signing.PublicKey(), ReasonCompromised, testNow, true)
	noError(t, err)
	if end.Conflict() != nil || end.Len() != 4 || len(end.Devices(testNow)) != 1 {
		t.Errorf("after the second healing: %v, %d links, %v", end.Conflict(), end.Len(), end.Devices(testNow))
	}
	end = authorize(t, end, w, b)
	if _, err = ParseLog(end.Marshal()); err != nil || end.Len() != 5 {
		t.Errorf("the log does not go on after a healing: %v", err)
	}
}

// A healing link may not sit beside the conflict it names, nor name links of
// different places.
func TestHealingRejects(t *testing.T) {
	w, a, b, c := testWallet(t), testDevice(t, 1), testDevice(t, 11), testDevice(t, 21)
	account := KeyAccount(w.Address())
	base := authorize(t, NewLog(account), w, a)
	x, y := authorize(t, base, w, b), authorize(t, base, w, c)
	xx, yy := authorize(t, x, w, c), authorize(t, y, w, b)
	links := []*Link{base.entries[0].link, x.entries[1].link, y.entries[1].link, xx.entries[2].link, yy.entries[2].link}
	heal := func(seq uint64, digests ...[32]byte) *Link {
		slices.SortFunc(digests, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
		return signed(t, &Link{Type: LinkRevoke, Seq: seq, Prev: healPrev(digests), Heals: digests}, w, b)
	}
	_, err := ParseLog(rawLog(account, append(links, heal(2, x.head, y.head))...))
	noError(t, err)
	for name, k := range map[string]*Link{
		"seq too high":     heal(3, x.head, y.head),
		"different places": heal(3, xx.head, yy.head),
		"one too early":    heal(2, x.head, base.head),
		"different seq":    heal(3, xx.head, y.head),
		"unknown link":     heal(2, x.head, [32]byte{9}),
	} {
		_, err := ParseLog(rawLog(account, append(slices.Clone(links), k)...))
		if !errors.Is(err, ErrLog) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A revocation counts on a branch that lost, too: removal wins.
func TestRevocationOnALosingBranch(t *testing.T) {
	w, a, b := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	base := authorize(t, NewLog(KeyAccount(w.Address())), w, a)
	x, y := authorize(t, base, w, b), revoke(t, base, w, a)
	m, err := MergeLogs(x, y)
	noError(t, err)
	if m.Conflict() == nil || len(m.Devices(testNow)) != 0 {
		t.Fatalf("conflict %v, devices %v", m.Conflict(), m.Devices(testNow))
	}
	m, err = AuthorizeDevice(context.Background(), m, w, b, Authorization{Heal: true})
	noError(t, err)
	if got := m.Devices(testNow); len(got) != 1 || !got[0].SigningKey.Equal(b.Signing.PublicKey()) {
		t.Errorf("devices are %v", got)
	}
}

func TestMergeNeverGoesBack(t *testing.T) {
	w, a, b := testWallet(t), testDevice(t, 1), testDevice(t, 11)
	short := authorize(t, authorize(t, NewLog(KeyAccount(w.Address())), w, a), w, b)
	long := revoke(t, short, w, b)
	for _, pair := range [][2]*Log{{long, short}, {short, long}, {long, long}, {nil, long}, {long, NewLog(long.account)}} {
		m, err := MergeLogs(pair[0], pair[1])
		noError(t, err)
		if !bytes.Equal(m.Marshal(), long.Marshal()) {
			t.Error("a merge forgot the revocation")
		}
	}
	_, err := MergeLogs(long, NewLog(Account{Address{1}, 0}))
	wantError(t, err, ErrOtherAccount)
}

func TestLogLimits(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := NewLog(KeyAccount(w.Address()))
	name := string(bytes.Repeat([]byte("n"), MaxDeviceName))
	var err error
	for err == nil {
		var next *Log
		if next, err = AuthorizeDevice(context.Background(), l, w, d, Authorization{Name: name}); err == nil {
			l = next
		}
	}
	wantError(t, err, ErrLog)
	if l.Len() != MaxLinks-reservedLinks {
		t.Fatalf("AuthorizeDevice stops after %d links", l.Len())
	}
	// Revocations fill the rest, and the device can still leave by itself.
	for range reservedLinks {
		l = revoke(t, l, w, testDevice(t, 11))
	}
	asked := &countingWallet{KeyWallet: w}
	_, err = RevokeDevice(context.Background(), l, asked, d.Signing.PublicKey(), 0, testNow, false)
	if wantError(t, err, ErrLog); asked.n != 0 {
		t.Error("a person was asked in vain")
	}
	full, err := RevokeSelf(l, d, testNow)
	noError(t, err)
	_, err = ParseLog(full.Marshal())
	noError(t, err)

	// The same log with a link too many is refused before its links are read.
	over := append(slices.Clone(l.entries), entry{signed(t, &Link{Type: LinkRevoke, Seq: l.next, Prev: l.head}, w, d), [32]byte{}})
	_, err = ParseLog((&Log{account: l.account, entries: over}).Marshal())
	wantError(t, err, ErrLog)
	_, err = MergeLogs(l, &Log{account: l.account, entries: []entry{{over[MaxLinks].link, over[MaxLinks].link.Digest(l.account)}}})
	wantError(t, err, ErrLog)
	// The largest log there can be fits its limit.
	if most := 1 + AccountSize + 4 + MaxLinksSize + 4 + MaxRevocations*selfRevocationSize; most > MaxLogSize {
		t.Errorf("a log may need %d bytes", most)
	}
}

// countingWallet counts how often it is asked.
type countingWallet struct {
	*KeyWallet
	n int
}

func (w *countingWallet) SignTypedData(ctx context.Context, data apitypes.TypedData) ([]byte, error) {
	w.n++
	return w.KeyWallet.SignTypedData(ctx, data)
}

// oddWallet returns what edit makes of a good signature.
type oddWallet struct {
	*KeyWallet
	edit func([]byte) ([]byte, error)
}

func (w oddWallet) SignTypedData(ctx context.Context, data apitypes.TypedData) ([]byte, error) {
	sig, err := w.KeyWallet.SignTypedData(ctx, data)
	if err != nil {
		return nil, err
	}
	return w.edit(sig)
}

func TestWalletAnswers(t *testing.T) {
	refused := errors.New("user refused")
	w, d := testWallet(t), testDevice(t, 1)
	l := NewLog(KeyAccount(w.Address()))
	for name, c := range map[string]struct {
		edit func([]byte) ([]byte, error)
		want error
	}{
		"v 27":      {func(s []byte) ([]byte, error) { return s, nil }, nil},
		"v 0":       {func(s []byte) ([]byte, error) { s[64] -= 27; return s, nil }, nil},
		"v 29":      {func(s []byte) ([]byte, error) { s[64] = 29; return s, nil }, ErrWallet},
		"flipped":   {func(s []byte) ([]byte, error) { s[5] ^= 1; return s, nil }, ErrWallet},
		"high s":    {func(s []byte) ([]byte, error) { negateS(s[32:64]); s[64] ^= 27 ^ 28; return s, nil }, ErrWallet},
		"short":     {func(s []byte) ([]byte, error) { return s[:64], nil }, ErrWallet},
		"long":      {func(s []byte) ([]byte, error) { return append(s, 0), nil }, ErrWallet},
		"nothing":   {func([]byte) ([]byte, error) { return nil, nil }, ErrWallet},
		"refuses":   {func([]byte) ([]byte, error) { return nil, refused }, refused},
		"no EIP712": {func([]byte) ([]byte, error) { return nil, fmt.Errorf("rpc: %w", ErrNoTypedData) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := AuthorizeDevice(context.Background(), l, oddWallet{w, c.edit}, d, Authorization{})
			wantError(t, err, c.want)
			if err != nil {
				return
			}
			back, err := ParseLog(got.Marshal())
			noError(t, err)
			if text := back.entries[0].link.Scheme == SchemeText; text != (name == "no EIP712") {
				t.Error("wrong scheme")
			}
		})
	}
	thief, err := GenerateWallet()
	noError(t, err)
	_, err = AuthorizeDevice(context.Background(), l, thief, d, Authorization{})
	wantError(t, err, ErrWallet)
	_, err = AuthorizeDevice(context.Background(), NewLog(Account{w.Address(), 1}), w, d, Authorization{})
	wantError(t, err, ErrContractWallet)
}

// One link signed in two ways is one link, and all keep the same signature.
func TestMergeOfTwoSignatures(t *testing.T) {
	w, d := testWallet(t), testDevice(t, 1)
	l := NewLog(KeyAccount(w.Address()))
	x := authorize(t, l, w, d)
	y, err := AuthorizeDevice(context.Background(), l, oddWallet{w, func([]byte) ([]byte, error) { return nil, ErrNoTypedData }}, d, Authorization{Name: "laptop"})
	noError(t, err)
	xy, err := MergeLogs(x, y)
	noError(t, err)
	yx, err := MergeLogs(y, x)
	noError(t, err)
	if bytes.Equal(x.Marshal(), y.Marshal()) || !bytes.Equal(xy.Marshal(), yx.Marshal()) || xy.Conflict() != nil || xy.Len() != 1 {
		t.Error("two signatures of one link do not merge")
	}
}

// Whatever happens to an account, merging is commutative, associative and
// idempotent, forgets nothing, and gives a log that parses.
func TestMergeProperties(t *testing.T) {
	w := testWallet(t)
	devices := []*Device{testDevice(t, 1), testDevice(t, 11), testDevice(t, 21)}
	rapid.Check(t, func(t *rapid.T) {
		logs := []*Log{NewLog(KeyAccount(w.Address()))}
		pick := func(label string) *Log { return logs[rapid.IntRange(0, len(logs)-1).Draw(t, label)] }
		merge := func(a, b *Log) *Log {
			m, err := MergeLogs(a, b)
			noError(t, err)
			return m
		}
		for range rapid.IntRange(1, 7).Draw(t, "steps") {
			from, d := pick("from"), devices[rapid.IntRange(0, 2).Draw(t, "device")]
			var next *Log
			var err error
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				next, err = AuthorizeDevice(context.Background(), from, w, d, Authorization{Heal: true, Name: rapid.StringMatching("[a-b]").Draw(t, "name")})
			case 2:
				next, err = RevokeDevice(context.Background(), from, w, d.Signing.PublicKey(), 0, testNow, true)
			case 3:
				next, err = RevokeSelf(from, d, testNow)
			case 4:
				next = merge(from, pick("with"))
			}
			if errors.Is(err, ErrDeviceRevoked) || errors.Is(err, ErrUnknownDevice) {
				continue
			}
			noError(t, err)
			logs = append(logs, next)
		}
		a, b, c := pick("a"), pick("b"), pick("c")
		left, right := merge(merge(a, b), c), merge(c, merge(b, a))
		if !bytes.Equal(left.Marshal(), right.Marshal()) || !bytes.Equal(merge(left, a).Marshal(), left.Marshal()) {
			t.Fatalf("merging depends on the order")
		}
		back, err := ParseLog(left.Marshal())
		noError(t, err)
		if !bytes.Equal(back.Marshal(), left.Marshal()) || back.Len() != left.Len() || (back.Conflict() == nil) != (left.Conflict() == nil) {
			t.Fatalf("the log changes when stored")
		}
		if left.Conflict() == nil && left.Len() < max(a.Len(), b.Len(), c.Len()) {
			t.Fatalf("the log went back to %d links", left.Len())
		}
		for _, d := range devices {
			key := d.Signing.PublicKey()
			was := a.Revoked(key) || b.Revoked(key) || c.Revoked(key)
			if left.Revoked(key) != was {
				t.Fatalf("a revocation was lost or made up")
			}
			for _, active := range left.Devices(testNow) {
				if was && active.SigningKey.Equal(key) {
					t.Fatalf("a revoked device is listed")
				}
			}
		}
	})
}

func FuzzParseLog(f *testing.F) {
	w, d := testWallet(f), testDevice(f, 1)
	l := authorize(f, NewLog(KeyAccount(w.Address())), w, d)
	f.Add(l.Marshal())
	x, y := authorize(f, l, w, testDevice(f, 11)), revoke(f, l, w, d)
	m, err := MergeLogs(x, y)
	noError(f, err)
	f.Add(m.Marshal())
	m, err = RevokeDevice(context.Background(), m, w, d.Signing.PublicKey(), 0, testNow, true)
	noError(f, err)
	m, err = RevokeSelf(m, d, testNow)
	noError(f, err)
	f.Add(m.Marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		if l, err := ParseLog(in); err == nil && !bytes.Equal(l.Marshal(), in) {
			t.Fatal("re-encodes differently")
		}
	})
}
