package parley

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-im/parley/groups"
	"github.com/parley-im/parley/identity"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/transport"
)

// made is an account that has keys, and no client.
type made struct {
	log        *identity.Log
	keyPackage *groups.KeyPackage
}

func (w *world) make() made {
	w.t.Helper()
	wallet, err := identity.GenerateWallet()
	if err != nil {
		w.t.Fatal(err)
	}
	device, err := identity.NewDevice()
	if err != nil {
		w.t.Fatal(err)
	}
	account := identity.KeyAccount(wallet.Address())
	log, err := identity.AuthorizeDevice(w.t.Context(), identity.NewLog(account), wallet, device, identity.Authorization{Name: "made"})
	if err != nil {
		w.t.Fatal(err)
	}
	kp, _, err := groups.NewKeyPackage(groups.KeyPackageOptions{
		Credential: groups.EthereumCredential([groups.AcctSize]byte(account.Bytes()), log.Devices(time.Now())[0].Link),
		Signer:     suite.Secp256k1SigningKey(device.Signing), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return made{log, kp}
}

// add commits new members, without asking the network for them, and aad bytes
// besides.
func (p *person) add(group string, all []made, aad int) error {
	p.w.t.Helper()
	id, err := p.groupID(p.w.t.Context(), group)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return p.step(p.w.t.Context(), func(s *step) error {
		var add []*groups.KeyPackage
		for _, m := range all {
			if _, err := s.learnLog(m.log); err != nil {
				return err
			}
			add = append(add, m.keyPackage)
		}
		g, err := p.active(id)
		if err != nil {
			return err
		}
		return s.commit(g, groups.CommitOptions{Add: add, Framing: groups.Framing{AuthenticatedData: make([]byte, aad)}})
	})
}

// groupEnvelopes returns what is on its way to groups, in its order.
func (p *person) groupEnvelopes() []transport.Envelope {
	p.w.t.Helper()
	return p.envelopes(`SELECT tag, body FROM outbox WHERE tag IS NOT NULL AND conv LIKE 'g:%' ORDER BY id`)
}

// docs/spec.md, "Handshakes in parts": a commit that exceeds one envelope
// arrives whole, in whatever order its parts come, also over a restart, and
// nobody but its sender can put a part in.
func TestCommitLargerThanAnEnvelope(t *testing.T) {
	const n = 140 // more than an envelope holds
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	alice.offline()
	bob.offline()
	var all []made
	for range n {
		all = append(all, w.make())
	}
	if err := alice.add("ops", all, groups.MaxAuthenticatedData); err != nil {
		t.Fatal(err)
	}
	parts := alice.groupEnvelopes()
	if len(parts) < 3 || len(parts) > handshakeWindow {
		t.Fatalf("the commit takes %d envelopes, want some", len(parts))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })

	before := bob.dump()
	bob.forgeParts(parts)
	for table, count := range bob.dump() {
		if count != before[table] {
			t.Errorf("forgeries changed %s: %d rows, before %d", table, count, before[table])
		}
	}
	for i, e := range parts {
		if i == 1 {
			bob.offline()
		}
		if g, err := bob.Group(t.Context(), "ops"); err != nil || len(g.Members) != 2 {
			t.Fatalf("before part %d there are %d members, %v", i, len(g.Members), err)
		}
		if !bob.takes(e) {
			t.Fatalf("part %d is refused", i)
		}
		if bob.takes(e.Reseal()) {
			t.Fatalf("part %d is taken twice", i)
		}
	}
	if g, err := bob.Group(t.Context(), "ops"); err != nil || len(g.Members) != n+2 {
		t.Errorf("there are %d members, %v", len(g.Members), err)
	}
	if rest := bob.count(`SELECT COUNT(*) FROM handshake_parts`); rest != 0 {
		t.Errorf("%d parts are left", rest)
	}
	if kept := bob.count(`SELECT COUNT(*) FROM history`); kept != len(parts) {
		t.Errorf("%d of %d parts are kept for others", kept, len(parts))
	}
}

// forgeParts tries what a member who has the key of the envelopes could make
// of another's parts.
func (p *person) forgeParts(parts []transport.Envelope) {
	p.w.t.Helper()
	other := p.me.device.Signing
	for _, e := range parts {
		r, known := p.index.Lookup(e.Tag)
		if !known {
			p.w.t.Fatal("the tag is not expected")
		}
		g := p.groups[p.heads[r.cid]]
		msg, err := g.head.Open(e.Tag, e.Body)
		if err != nil {
			p.w.t.Fatal(err)
		}
		genuine := func() *handshakePart {
			part, err := parseHandshakePart(bytes.Clone(msg))
			if err != nil {
				p.w.t.Fatal(err)
			}
			return part
		}
		for name, change := range map[string]func(*handshakePart){
			"data": func(h *handshakePart) { h.data[0] ^= 1 },
			"data and digest": func(h *handshakePart) {
				h.data[0] ^= 1
				digest := sha256.Sum256(h.data)
				h.digests[h.index] = digest[:]
			},
			"first":     func(h *handshakePart) { h.first++ },
			"index":     func(h *handshakePart) { h.index = (h.index + 1) % uint16(len(h.digests)) },
			"beyond":    func(h *handshakePart) { h.index = uint16(len(h.digests)) },
			"fewer":     func(h *handshakePart) { h.digests = h.digests[:1]; h.index = 0 },
			"signature": func(h *handshakePart) { h.signature[5] ^= 1 },
			"another's": func(h *handshakePart) {
				mls, err := suite.ByID(g.head.Suite())
				if err != nil {
					p.w.t.Fatal(err)
				}
				h.signature, err = mls.SignWithLabel(suite.Secp256k1SigningKey(other), handshakePartLabel, h.signed(r.cid, r.leaf))
				if err != nil {
					p.w.t.Fatal(err)
				}
			},
		} {
			forged := genuine()
			change(forged)
			err := p.step(p.w.t.Context(), func(s *step) error {
				whole, err := s.joinHandshake(g, r, forged.marshal())
				if err == nil || whole != nil {
					p.w.t.Errorf("%s: a part is taken", name)
				}
				return err
			})
			if !errors.Is(err, errHandshakePart) && !errors.Is(err, errMisplaced) {
				p.w.t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A member has one handshake in parts at a time: what is kept of unfinished
// ones is bounded.
func TestUnfinishedHandshakesAreBounded(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	w.connected(alice, bob)
	if _, err := alice.CreateGroup(t.Context(), "ops", []string{"bob.eth"}, GroupOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.until("the group", changed("joined"))
	alice.offline()
	bob.offline()
	id, err := alice.groupID(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	send := func(size int) error {
		return alice.step(t.Context(), func(s *step) error { return s.sendHandshake(alice.groups[string(id)], make([]byte, size)) })
	}
	for range 2 {
		if err := send(transport.MaxBody + 1); err != nil {
			t.Fatal(err)
		}
	}
	parts := alice.groupEnvelopes()
	if len(parts) != 4 {
		t.Fatalf("%d parts, want two of each", len(parts))
	}
	bob.takesAll(parts[:1])
	if bob.takes(parts[2]) {
		t.Error("takes a part of another handshake")
	}
	if n := bob.count(`SELECT COUNT(*) FROM handshake_parts`); n != 1 {
		t.Errorf("%d parts are kept", n)
	}
	if err := send(maxHandshakeParts*handshakePartSize + 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond the limit: %v, want ErrTooLarge", err)
	}
}

func FuzzParseHandshakePart(f *testing.F) {
	data := []byte("a part of a commit")
	digest := sha256.Sum256(data)
	for index := range uint16(2) {
		p := handshakePart{first: 7, index: index, digests: [][]byte{digest[:], digest[:]}, signature: make([]byte, 64), data: data}
		b := p.marshal()
		if _, err := parseHandshakePart(b); err != nil {
			f.Fatal(err)
		}
		for n := range b {
			if _, err := parseHandshakePart(b[:n]); !errors.Is(err, errHandshakePart) {
				f.Fatalf("prefix of %d bytes: %v", n, err)
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseHandshakePart(b)
		if err != nil {
			if !errors.Is(err, errHandshakePart) {
				t.Fatal(err)
			}
			return
		}
		if again := p.marshal(); !bytes.Equal(again, b) {
			t.Fatalf("%x parses and encodes as %x", b, again)
		}
	})
}
