package agree

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secp"
)

// town is a Verifier that knows devices, beacons and who may do what.
type town struct {
	devices map[Device]*secp.PrivateKey
	owners  map[Device]Account
	beacons map[CID]*secp.PrivateKey
	admins  map[Account]bool
}

func (t *town) VerifyDevice(a Account, d Device, label string, m, sig []byte) error {
	key := t.devices[d]
	if key == nil || t.owners[d] != a || key.PublicKey().Verify(label, m, sig) != nil {
		return ErrSignature
	}
	return nil
}

func (t *town) VerifyBeacon(e CID, label string, m, sig []byte) error {
	key := t.beacons[e]
	switch {
	case key == nil:
		return ErrUnknownEpoch
	case key.PublicKey().Verify(label, m, sig) != nil:
		return ErrSignature
	}
	return nil
}

func (t *town) MayOrder(o *Order) error {
	if !t.admins[o.Issuer] && o.Target != o.Issuer {
		return ErrNotAllowed
	}
	return nil
}

func testKey(n byte) *secp.PrivateKey {
	k, err := secp.NewPrivateKey(bytes.Repeat([]byte{n + 1}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

var testGroup = []byte("a group")

func newTown(accounts int) *town {
	t := &town{map[Device]*secp.PrivateKey{}, map[Device]Account{}, map[CID]*secp.PrivateKey{}, map[Account]bool{}}
	for a := range accounts {
		for d := range 2 {
			t.devices[deviceOf(10*a+d)] = testKey(byte(10*a + d))
			t.owners[deviceOf(10*a+d)] = accountOf(a)
		}
	}
	for e := range uint64(4) {
		t.beacons[cidOf(e)] = testKey(byte(100 + e))
	}
	t.admins[accountOf(0)] = true
	return t
}

func (t *town) statement(account, device int, seq, head uint64) *Statement {
	s := &Statement{GroupID: testGroup, Account: accountOf(account), Device: deviceOf(10*account + device), Seq: seq, Head: cidOf(head)}
	sig := t.devices[s.Device].Sign(LabelStatement, s.SignedPart())
	beacon := t.beacons[s.Head].Sign(LabelBeacon, s.SignedPart())
	s.Signature, s.BeaconSignature = sig[:], beacon[:]
	return s
}

func (t *town) announcement(account int, parent, cid uint64, beacon string) *Announcement {
	a := &Announcement{GroupID: testGroup, Account: accountOf(account), Device: deviceOf(10 * account), Parent: cidOf(parent), CID: cidOf(cid), Beacon: []byte(beacon)}
	sig := t.devices[a.Device].Sign(LabelAnnouncement, a.SignedPart())
	a.Signature = sig[:]
	return a
}

func (t *town) order(o Order) *Order {
	o.GroupID = testGroup
	if o.Device == (Device{}) {
		for d, a := range t.owners {
			if a == o.Issuer && (o.Device == Device{} || bytes.Compare(d[:], o.Device[:]) < 0) {
				o.Device = d
			}
		}
	}
	slices.SortFunc(o.Heads, func(a, b OrderID) int { return bytes.Compare(a[:], b[:]) })
	sig := t.devices[o.Device].Sign(LabelOrder, o.SignedPart())
	o.Signature = sig[:]
	return &o
}

// codec is one of the forms that are signed.
type codec struct {
	name   string
	data   []byte
	parse  func([]byte) (interface{ Marshal() []byte }, error)
	verify func([]byte, Verifier) error
}

func parser[T interface{ Marshal() []byte }](f func([]byte) (T, error)) func([]byte) (interface{ Marshal() []byte }, error) {
	return func(b []byte) (interface{ Marshal() []byte }, error) { return f(b) }
}

func (t *town) codecs(tb testing.TB) []codec {
	s := t.statement(1, 1, 7, 2)
	a := t.announcement(1, 0, 2, "key")
	o := t.order(Order{Issuer: accountOf(0), Basis: cidOf(1), Kind: OrderAdd, Target: "someone", Payload: []byte("key package"), Heads: []OrderID{orderOf(1), orderOf(2)}})
	e, err := NewEquivocation(a, t.announcement(1, 0, 3, "key"))
	if err != nil {
		tb.Fatal(err)
	}
	return []codec{
		{"statement", s.Marshal(), parser(ParseStatement), s.Verify},
		{"announcement", a.Marshal(), parser(ParseAnnouncement), a.Verify},
		{"order", o.Marshal(), parser(ParseOrder), o.Verify},
		{"equivocation", e.Marshal(), parser(ParseEquivocation), e.Verify},
	}
}

func TestSignedForms(t *testing.T) {
	town := newTown(3)
	for _, c := range town.codecs(t) {
		t.Run(c.name, func(t *testing.T) {
			if err := c.verify(testGroup, town); err != nil {
				t.Fatal(err)
			}
			if err := c.verify([]byte("another group"), town); !errors.Is(err, ErrWrongGroup) {
				t.Errorf("for another group: %v", err)
			}
			v, err := c.parse(c.data)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(v.Marshal(), c.data) {
				t.Error("does not come out as it went in")
			}
			for i := range c.data {
				if _, err := c.parse(c.data[:i]); !errors.Is(err, ErrMalformed) {
					t.Fatalf("prefix of %d bytes: %v", i, err)
				}
			}
			if _, err := c.parse(append(slices.Clone(c.data), 0)); !errors.Is(err, ErrMalformed) {
				t.Errorf("with a byte too many: %v", err)
			}
			// No byte is without meaning: whatever is changed, either it is malformed,
			// or its signature is of something else.
			for i := range c.data {
				bad := slices.Clone(c.data)
				bad[i] ^= 1
				v, err := c.parse(bad)
				if err != nil {
					continue
				}
				if err := v.(interface {
					Verify([]byte, Verifier) error
				}).Verify(testGroup, town); err == nil {
					t.Fatalf("byte %d does not matter", i)
				}
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	town := newTown(3)
	unknown := town.statement(1, 0, 1, 2)
	delete(town.beacons, unknown.Head)
	if err := unknown.Verify(testGroup, town); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("statement of an unknown epoch: %v", err)
	}
	town = newTown(3)
	ghost := town.statement(1, 0, 1, 2)
	forged := town.beacons[cidOf(1)].Sign(LabelBeacon, ghost.SignedPart())
	ghost.BeaconSignature = forged[:] // by who has no key of the epoch
	if err := ghost.Verify(testGroup, town); !errors.Is(err, ErrSignature) {
		t.Errorf("statement without the epoch's key: %v", err)
	}
	if err := town.order(Order{Issuer: accountOf(1), Kind: OrderRemove, Target: accountOf(2)}).Verify(testGroup, town); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("order by one who may not: %v", err)
	}
	if err := town.order(Order{Issuer: accountOf(1), Kind: OrderRemove, Target: accountOf(1)}).Verify(testGroup, town); err != nil {
		t.Errorf("leaving: %v", err)
	}
	me := Order{Issuer: accountOf(1), Device: deviceOf(10), Kind: OrderResync, Target: accountOf(1), TargetDevice: deviceOf(10)}
	if err := town.order(me).Verify(testGroup, town); err != nil {
		t.Errorf("resync of oneself: %v", err)
	}
	for name, o := range map[string]Order{
		"resync of another":        {Issuer: accountOf(0), Device: deviceOf(0), Kind: OrderResync, Target: accountOf(1), TargetDevice: deviceOf(0)},
		"resync of another device": {Issuer: accountOf(0), Device: deviceOf(0), Kind: OrderResync, Target: accountOf(0), TargetDevice: deviceOf(1)},
		"add of a device":          {Issuer: accountOf(0), Kind: OrderAdd, Target: accountOf(1), TargetDevice: deviceOf(1)},
		"removal with a payload":   {Issuer: accountOf(0), Kind: OrderRemove, Target: accountOf(1), Payload: []byte{1}},
		"of no one":                {Issuer: accountOf(0), Kind: OrderRemove},
		"of no kind":               {Issuer: accountOf(0), Kind: 9, Target: accountOf(1)},
		"with a head twice":        {Issuer: accountOf(0), Kind: OrderPromote, Target: accountOf(1), Heads: []OrderID{orderOf(1), orderOf(1)}},
	} {
		signed := town.order(o)
		if err := signed.Verify(testGroup, town); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: verified: %v", name, err)
		}
		if _, err := ParseOrder(signed.Marshal()); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: parsed: %v", name, err)
		}
	}
	a := town.announcement(1, 0, 2, "key")
	for name, b := range map[string]*Announcement{
		"the same commit":     town.announcement(1, 0, 2, "key"),
		"another's commit":    town.announcement(2, 0, 3, "key"),
		"one of a next epoch": town.announcement(1, 2, 3, "key"),
	} {
		if _, err := NewEquivocation(a, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s proves something: %v", name, err)
		}
	}
	if _, err := NewEquivocation(a, town.announcement(1, 0, 2, "another key")); err != nil {
		t.Errorf("two keys for one epoch prove nothing: %v", err)
	}
}

// What statements there are depends on what was put in, not on the order.
func TestStatements(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var all []*Statement
	for range 300 {
		d := r.IntN(6)
		all = append(all, &Statement{GroupID: testGroup, Account: accountOf(d / 2), Device: deviceOf(d), Seq: r.Uint64N(5), Head: cidOf(r.Uint64N(4))})
	}
	for round := range 200 {
		some := all[:1+r.IntN(30)]
		var x, y Statements
		for _, s := range some {
			_ = x.Put(s)
		}
		r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		for _, s := range append(slices.Clone(some), some...) { // and twice
			_ = y.Put(s)
		}
		if !reflect.DeepEqual(ids(x.All()), ids(y.All())) {
			t.Fatalf("round %d: other statements in another order", round)
		}
		for _, v := range x.Votes() {
			for _, s := range some {
				if s.Device == v.Device && (s.Seq > v.Seq || s.Seq == v.Seq && s.Head != v.Head) {
					t.Fatalf("vote %+v in spite of %+v", v, s)
				}
			}
		}
		for d := range 6 {
			v, ok := x.Of(deviceOf(d))
			if ok != slices.Contains(x.Votes(), v) {
				t.Fatalf("device %d: Of and Votes differ", d)
			}
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	var s Statements
	town := newTown(2)
	for i, tc := range []struct {
		seq, head uint64
		err       error
		votes     int
	}{{3, 1, nil, 1}, {2, 2, ErrStale, 1}, {3, 1, nil, 1}, {3, 2, nil, 0}, {3, 3, nil, 0}, {2, 1, ErrStale, 0}, {4, 1, nil, 1}} {
		if err := s.Put(town.statement(1, 0, tc.seq, tc.head)); !errors.Is(err, tc.err) || len(s.Votes()) != tc.votes {
			t.Errorf("step %d: %v, %d votes", i, err, len(s.Votes()))
		}
	}
	if seq, err := s.Seq(accountOf(1)); seq != 5 || err != nil {
		t.Errorf("next seq %d, %v", seq, err)
	}
	_ = s.Put(&Statement{Account: accountOf(1), Device: deviceOf(11), Seq: 1<<64 - 1})
	if _, err := s.Seq(accountOf(1)); !errors.Is(err, ErrFull) {
		t.Errorf("a seq after the last: %v", err)
	}
}

func ids(list []*Statement) (out []string) {
	for _, s := range list {
		out = append(out, fmt.Sprintf("%x", s.id()))
	}
	return out
}

func fuzzCodec(f *testing.F, n int) {
	c := newTown(3).codecs(f)[n]
	f.Add(c.data)
	f.Add(c.data[:len(c.data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := c.parse(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !bytes.Equal(v.Marshal(), data) {
			t.Fatal("not canonical")
		}
	})
}

func FuzzStatement(f *testing.F)    { fuzzCodec(f, 0) }
func FuzzAnnouncement(f *testing.F) { fuzzCodec(f, 1) }
func FuzzOrder(f *testing.F)        { fuzzCodec(f, 2) }
func FuzzEquivocation(f *testing.F) { fuzzCodec(f, 3) }
