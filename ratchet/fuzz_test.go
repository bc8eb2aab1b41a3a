package ratchet

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/parley-im/parley/internal/secret"
)

func FuzzParseSession(f *testing.F) {
	a, b, id := pair(f)
	f.Add(a.sessions[id].state)
	f.Add(b.sessions[id].state)
	f.Add(a.sessions[a.start(b, "hello")].state)
	b.expect(offering(a, b, id), "words")
	f.Add(a.sessions[id].state) // with an open offer
	f.Add(b.sessions[id].state) // with the peer's key
	b.send(id, "answer")
	f.Add(b.sessions[id].state) // with a ciphertext
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := ParseSession(in)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Marshal().Bytes(), in) {
			t.Fatal("re-encodes differently")
		}
		// Whatever was parsed can be used without a panic.
		s.ReceiveTags(2)
		if next, m, err := s.Encrypt([]byte("x"), nil, testTime); err == nil {
			_, _ = next.Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime)
		}
	})
}

func FuzzParseSkippedKey(f *testing.F) {
	a, b, id := pair(f)
	a.send(id, "lost")
	b.expect(a.send(id, "read"), "read")
	for _, r := range b.sessions[id].skipped {
		f.Add(r.bytes)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if k, err := ParseSkippedKey(in); err == nil && !bytes.Equal(k.Marshal().Bytes(), in) {
			t.Fatal("re-encodes differently")
		}
	})
}

func FuzzParsePreamble(f *testing.F) {
	a, b := newDevice(f, "alice"), newDevice(f, "bob")
	f.Add(a.load(a.start(b, "hello")).pre.marshal())
	clear(b.opk)
	f.Add(a.load(a.start(b, "")).pre.marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := parsePreamble(in); err == nil && !bytes.Equal(p.marshal(), in) {
			t.Fatal("re-encodes differently")
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add((&header{pn: 1, n: 2}).marshal())
	f.Add((&header{ext: []ext{{3, []byte("a")}, {4, nil}}}).marshal())
	f.Add((&header{ext: []ext{{extOffer, make([]byte, offerSize)}, {extAnswer, make([]byte, answerSize)}}}).marshal())
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, err := parseHeader(in); err == nil && !bytes.Equal(h.marshal(), in) {
			t.Fatal("re-encodes differently")
		}
	})
}

// fuzzPair is made once per process: the fuzzer's inputs are bodies for it.
var fuzzPair = sync.OnceValues(func() (*device, *Session) {
	a, b, id := pair(panicTB{})
	b.send(id, "turn") // so that the peer can begin a chain
	for range OfferMessages {
		a.expect(b.send(id, "words"), "words")
	}
	return b, b.load(id) // with an open offer
})

// panicTB is a testing.TB for setups outside a test.
type panicTB struct{ testing.TB }

func (panicTB) Helper()               {}
func (panicTB) Fatal(args ...any)     { panic(args) }
func (panicTB) Fatalf(string, ...any) { panic("setup failed") }

func FuzzDecrypt(f *testing.F) {
	_, s := fuzzPair()
	f.Add(make([]byte, 256), false)
	f.Add(bytes.Repeat([]byte{0xff}, 1024), true)
	f.Fuzz(func(t *testing.T, in []byte, mask bool) {
		before := s.Marshal().Bytes()
		body := bytes.Clone(in)
		if mask && len(body) > nonceSize+maskSize {
			// Reach the AEAD: a mask that fits.
			plain := append([]byte{0, 0, 0, headerSize + aeadTag}, 0, 0, 0, 0)
			for i, k := range frameMask(tagKey(s.hkr), body[:nonceSize]) {
				body[nonceSize+i] = plain[i] ^ k
			}
		}
		m := Message{Tag: messageTag(tagKey(s.hkr), 1), Body: body}
		if _, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime); !errors.Is(err, ErrDecrypt) {
			t.Fatalf("garbage: %v", err)
		}
		if !bytes.Equal(s.Marshal().Bytes(), before) {
			t.Fatal("the state changed")
		}
	})
}

// FuzzHeader seals arbitrary header plaintexts as the peer could.
func FuzzHeader(f *testing.F) {
	b, s := fuzzPair()
	f.Add((&header{dh: s.dhr, n: 1}).marshal(), false)
	f.Add((&header{dh: b.id.IK.Compressed(), pn: 5, n: 1}).marshal(), true)
	f.Add((&header{dh: b.id.IK.Compressed(), pn: 5, ext: []ext{numberedExt(extAnswer, 1, make([]byte, kemCTSize))}}).marshal(), true)
	f.Add((&header{dh: s.dhr, n: 1, ext: []ext{numberedExt(extOffer, 1, make([]byte, KEMPublicSize))}}).marshal(), false)
	s.meter = new(meter)
	f.Fuzz(func(t *testing.T, plain []byte, next bool) {
		hk := s.hkr
		if next {
			hk = s.nhkr
		}
		hn := make([]byte, nonceSize)
		body := maskedNonce(hk, hn)
		size := len(plain) + aeadTag
		for i := range 4 {
			body[nonceSize+i] ^= byte(size >> (8 * (3 - i)))
		}
		content := make([]byte, 40)
		body = xaead(hk.Bytes()).Seal(body, hn, plain, content)
		body = append(body, content...)
		m := Message{Body: body}
		if h, err := parseHeader(plain); err == nil {
			m.Tag = messageTag(tagKey(hk), h.n)
		}
		opened := s.meter.counts[countHeader]
		defer func() {
			if len(plain) >= headerSize && len(plain) <= headerSize+MaxExt && s.meter.counts[countHeader] != opened+1 {
				t.Error("the header was not opened")
			}
		}()
		if _, err := s.Decrypt(Incoming{Tag: m.Tag, Body: m.Body}, testTime); err == nil {
			t.Fatal("content without a key opened")
		}
	})
}

// maskedNonce is hn and its mask, for a length of zero.
func maskedNonce(hk secret.Key, hn []byte) []byte {
	mask := frameMask(tagKey(hk), hn)
	return cat(hn, mask[:])
}

func FuzzPeekFirst(f *testing.F) {
	d, _ := fuzzPair()
	a := newDevice(f, "alice")
	f.Add(a.send(a.start(d, "hello"), "x").Body, uint8(0))
	f.Add(make([]byte, 4096), uint8(1))
	f.Add(make([]byte, 4096), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, layer uint8) {
		tag := FirstTag(d.inboxKey, testTime)
		body := in
		if layer >= 2 { // as a preamble that its sender sealed rightly
			enc, sealed, err := hpkeSuite().SealBase(d.id.IK.Uncompressed(), firstInfo(&d.id), firstAD(tag), in)
			if err != nil {
				t.Fatal(err)
			}
			body = append(cat(enc, lp(sealed)), make([]byte, 256)...)
		}
		if layer >= 1 {
			fn := make([]byte, nonceSize)
			body = xaead(expand(nil, d.inboxKey[:], labelFirstSeal, nil, keySize)).Seal(fn, fn, body, firstAD(tag))
		}
		first, err := PeekFirst(d.id, d.ik, d.inboxKey, Message{Tag: tag, Body: body}, testTime)
		if err != nil {
			if !errors.Is(err, ErrDecrypt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if _, err := first.Accept(d.id, d.ik, d, nil, testTime); err == nil {
			t.Fatal("garbage was accepted")
		}
	})
}
