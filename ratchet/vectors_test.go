package ratchet

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/vectors"
)

// The published vectors of pairwise sessions: internal/vectors/pairs/README.md
// says what the fields are.

type sessionVector struct {
	Name      string          `json:"name"`
	Time      int64           `json:"time"`
	A         deviceVector    `json:"initiator"`
	B         deviceVector    `json:"responder"`
	Prekeys   prekeyVector    `json:"prekeys"`
	Ephemeral vectors.Hex     `json:"ek_a_private"`
	Hello     vectors.Hex     `json:"hello"`
	Handshake handshakeVector `json:"handshake"`
	Chains    []chainVector   `json:"chains"`
}

type deviceVector struct {
	Acct      vectors.Hex `json:"acct"`
	Dev       vectors.Hex `json:"dev"`
	IKPrivate vectors.Hex `json:"ik_private"`
	IK        vectors.Hex `json:"ik"`
	SK        vectors.Hex `json:"sk"`
}

type prekeyVector struct {
	InboxKey vectors.Hex `json:"inbox_key"`
	SPKID    uint32      `json:"spk_id"`
	SPK      vectors.Hex `json:"spk_private"`
	OPKID    *uint32     `json:"opk_id"` // null if none
	OPK      vectors.Hex `json:"opk_private"`
	KEMID    uint32      `json:"kem_id"`
	KEMSeed  vectors.Hex `json:"kem_seed"`
}

type handshakeVector struct {
	DH1  vectors.Hex `json:"dh1"`
	DH2  vectors.Hex `json:"dh2"`
	DH3  vectors.Hex `json:"dh3"`
	DH4  vectors.Hex `json:"dh4"`
	CT   vectors.Hex `json:"ct"`
	SS   vectors.Hex `json:"ss"`
	T    vectors.Hex `json:"t"`
	RK   vectors.Hex `json:"rk"`
	HKA  vectors.Hex `json:"hk_a"`
	NHKB vectors.Hex `json:"nhk_b"`
}

// chainVector is a sending chain: A's and B's alternate.
type chainVector struct {
	Private  vectors.Hex     `json:"dhs_private"`
	DH       vectors.Hex     `json:"dh"`
	Answer   *answerVector   `json:"answer"` // null if none
	RK       vectors.Hex     `json:"rk"`     // after the step
	CK       vectors.Hex     `json:"ck"`     // of message 0
	HK       vectors.Hex     `json:"hk"`
	NHK      vectors.Hex     `json:"nhk"`
	TagKey   vectors.Hex     `json:"tag_key"`
	Messages []messageVector `json:"messages"`
}

type answerVector struct {
	Number uint32      `json:"number"`
	CT     vectors.Hex `json:"ct"`
	SS     vectors.Hex `json:"ss"`
}

type offerVector struct {
	Number uint32      `json:"number"`
	Seed   vectors.Hex `json:"seed"`
}

type messageVector struct {
	Time      int64        `json:"time"`
	N         uint32       `json:"n"`
	PN        uint32       `json:"pn"`
	Offer     *offerVector `json:"offer"` // open when it was sent; null if none
	Plaintext vectors.Hex  `json:"plaintext"`
	AppAD     vectors.Hex  `json:"app_ad"`
	MK        vectors.Hex  `json:"mk"`
	NextCK    vectors.Hex  `json:"next_ck"`
	Key       vectors.Hex  `json:"key"`
	Nonce     vectors.Hex  `json:"nonce"`
	Header    vectors.Hex  `json:"header"`
	Mask      vectors.Hex  `json:"mask"` // HMAC(tk, hn)[:8]
	Tag       vectors.Hex  `json:"tag"`
	Body      vectors.Hex  `json:"body"`
	First     *firstVector `json:"first"` // null once the session is answered
}

type firstVector struct {
	Tag      vectors.Hex `json:"tag"`
	Preamble vectors.Hex `json:"preamble"`
	Body     vectors.Hex `json:"body"`
}

// saying is one message of a scripted conversation.
type saying struct {
	from  int
	after time.Duration // since the session was made
	text  string
	appAD string
}

// makeSessionVectors runs the package on scripts, with a random source of its
// own, and notes what it does.
func makeSessionVectors(t *testing.T) []sessionVector {
	return []sessionVector{
		makeSessionVector(t, 1, "with a one-time prekey", true, vectorScripts[0]),
		makeSessionVector(t, 2, "without a one-time prekey", false, vectorScripts[0][:3]),
		makeSessionVector(t, 3, "post-quantum ratchet: both offer, both answer", true, vectorScripts[1]),
	}
}

const day = 24 * time.Hour

var vectorScripts = [][]saying{{
	{0, 0, "hello, bob", "ad"},
	{0, time.Minute, "are you there?", ""},
	{1, time.Hour, "I am, and I offer", "ad"},
	{0, time.Hour, "", ""},
}, {
	{0, 0, "hello, bob", ""},
	{1, time.Hour, "offers", ""},
	{0, 7 * day, "offers and answers", ""},
	{1, 8 * day, "offers and answers", ""},
	{0, 8 * day, "answers", "ad"},
	{1, 8 * day, "goes on", ""},
}}

func makeSessionVector(t *testing.T, seed uint64, name string, oneTime bool, script []saying) sessionVector {
	cryptotest.SetGlobalRandom(t, seed)
	a, b := newDevice(t, "alice"), newDevice(t, "bob")
	if !oneTime {
		clear(b.opk)
	}
	bundle := b.bundle()
	ephemeral, first := must(secp.GenerateKey()), must(secp.GenerateKey())
	s := must(initiate(a.id, a.ik, bundle, []byte("hello"), ephemeral, first))
	s.begin(testTime)

	device := func(d *device) deviceVector {
		return deviceVector{Acct: d.id.Acct[:], Dev: d.id.Dev[:], IKPrivate: d.ik.Bytes().Bytes(), IK: d.id.IK.Bytes(), SK: d.id.SK.Bytes()}
	}
	v := sessionVector{
		Name: name, Time: testTime.Unix(), A: device(a), B: device(b), Hello: []byte("hello"), Ephemeral: ephemeral.Bytes().Bytes(),
		Prekeys: prekeyVector{
			InboxKey: b.inboxKey[:], SPKID: bundle.SPKID, SPK: b.spk[7].Bytes().Bytes(), KEMID: bundle.EKID, KEMSeed: b.kem[9].Bytes().Bytes(),
		},
	}
	h := &v.Handshake
	h.DH1, h.DH2, h.DH3 = scalarX(a.ik, bundle.SPK.Bytes()), scalarX(ephemeral, b.id.IK.Bytes()), scalarX(ephemeral, bundle.SPK.Bytes())
	var opk *secp.PrivateKey
	if oneTime {
		opk = b.opk[bundle.OPK.ID]
		v.Prekeys.OPKID, v.Prekeys.OPK = &bundle.OPK.ID, opk.Bytes().Bytes()
		h.DH4 = scalarX(ephemeral, bundle.OPK.Key.Bytes())
	}
	h.CT = bytes.Clone(s.pre.ct[:])
	h.SS = must(b.kem[9].dk.Decapsulate(h.CT))
	id := s.ID()
	h.T = id[:]
	tr := transcript{a: a.id, b: b.id, ek: ephemeral.PublicKey(), spkID: 7, spk: bundle.SPK, opk: bundle.OPK, kemID: 9, kem: bundle.EK, ct: h.CT}
	r := must(respond(tr, b.ik, b.spk[7], opk, bytes.Clone(h.SS), nil)) // B before it has read anything
	h.RK, h.HKA, h.NHKB = bytes.Clone(r.rk.Bytes()), bytes.Clone(r.nhkr.Bytes()), bytes.Clone(r.nhks.Bytes())

	ends := [2]*Session{s, nil}
	var current [2][secp.PublicKeySize]byte
	for _, word := range script {
		now := testTime.Add(word.after)
		var dh, ss []byte
		if len(v.Chains) == 0 {
			dh = scalarX(first, bundle.SPK.Bytes())
		}
		var seen [][2][]byte // sealings: content, header, and the layer of a first message
		ends[word.from].meter = &meter{
			stepped: func(_ *Session, _, d, secret []byte) { dh, ss = bytes.Clone(d), bytes.Clone(secret) },
			sealed:  func(key, nonce []byte) { seen = append(seen, [2][]byte{bytes.Clone(key), bytes.Clone(nonce)}) },
		}
		before := ends[word.from]
		next, m, err := before.Encrypt([]byte(word.text), []byte(word.appAD), now)
		if err != nil {
			t.Fatal(err)
		}
		if next.dhsPub != current[word.from] {
			current[word.from] = next.dhsPub
			c := chainVector{
				Private: next.dhs.Clone().Bytes(), DH: dh, RK: next.rk.Clone().Bytes(),
				HK: next.hks.Clone().Bytes(), NHK: next.nhks.Clone().Bytes(), TagKey: tagKey(next.hks).Bytes(),
			}
			if next.pq.kind == heldAnswer {
				c.Answer = &answerVector{next.pq.taken, next.pq.held, ss}
			}
			v.Chains = append(v.Chains, c)
		}
		c := &v.Chains[len(v.Chains)-1]
		mv := messageVector{
			Time: now.Unix(), N: uint32(next.ns) - 1, PN: next.pn, Plaintext: []byte(word.text), AppAD: []byte(word.appAD),
			NextCK: next.cks.Clone().Bytes(), Key: seen[0][0], Nonce: seen[0][1], Tag: m.Tag[:], Body: m.Body,
		}
		if !next.pq.seed.IsZero() {
			mv.Offer = &offerVector{next.pq.offered, next.pq.seed.Clone().Bytes()}
		}
		read := func() *Opened {
			if ends[1-word.from] == nil {
				f := must(PeekFirst(b.id, b.ik, b.inboxKey, m, now))
				return must(f.Accept(b.id, b.ik, b, []byte(word.appAD), now))
			}
			return must(ends[1-word.from].Decrypt(Incoming{Tag: mv.tag(), Body: mv.Body, AppAD: []byte(word.appAD)}, now))
		}
		if next.pre != nil {
			f := must(PeekFirst(b.id, b.ik, b.inboxKey, m, now))
			mv.First = &firstVector{Tag: m.Tag[:], Preamble: f.pre.marshal(), Body: m.Body}
			mv.Tag, mv.Body = bytes.Clone(f.Message.Tag[:]), bytes.Clone(f.Message.Body)
		}
		// What the sender does not keep is taken from the receiver's view.
		mask := frameMask(secret.Copy(c.TagKey), mv.Body[:nonceSize])
		mv.Mask = mask[:]
		opened := must((&Session{origin: &origin{id: id}}).openHeader(next.hks, tagKey(next.hks), mv.Body))
		mv.Header = opened.plain
		ends[word.from] = next
		o := read()
		ends[1-word.from] = o.Session
		c.Messages = append(c.Messages, mv)
		if mv.N == 0 {
			// The chain key of message 0 is not kept either: it follows from the step.
			rk := h.RK
			if n := len(v.Chains); n > 1 {
				rk = v.Chains[n-2].RK
			}
			_, ck, _ := kdfRK(secret.Copy(rk), secret.Copy(c.DH), ss)
			c.CK = ck.Bytes()
		}
		ck := secret.Copy(c.CK)
		for i := range c.Messages {
			mk, following := kdfCK(ck)
			c.Messages[i].MK = mk[:]
			ck = secret.New(following[:])
		}
	}
	return v
}

func (m *messageVector) tag() (t Tag) {
	copy(t[:], m.Tag)
	return t
}

func TestOwnVectors(t *testing.T) {
	var all []sessionVector
	vectors.OwnPairs(t, "sessions.json", &all, func() any { return makeSessionVectors(t) })
	if len(all) < 3 {
		t.Fatalf("only %d cases", len(all))
	}
	offers, answers := 0, 0
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			checkPlain(t, &v)
			checkPackage(t, &v)
			for _, c := range v.Chains {
				if c.Answer != nil {
					answers++
				}
				for _, m := range c.Messages {
					if m.Offer != nil {
						offers++
					}
				}
			}
		})
	}
	if offers < 2 || answers < 2 {
		t.Errorf("%d offers and %d answers", offers, answers)
	}
}

// What is published is from fixed seeds; the second implementation reads what
// the package says today as well.
func TestSecondImplementation(t *testing.T) {
	for _, oneTime := range []bool{true, false} {
		v := makeSessionVector(t, rand.Uint64(), "fresh", oneTime, vectorScripts[1])
		checkPlain(t, &v)
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d bytes differ from %d at byte %d", what, len(got), len(want), at)
	}
}

// checkPlain is the second implementation on the vectors: from the private keys
// and what was drawn at random it computes every key, and the wire again.
func checkPlain(t *testing.T, v *sessionVector) {
	key := func(b []byte) *secp.PrivateKey { return must(secp.NewPrivateKey(b)) }
	a, b, spk, ek := key(v.A.IKPrivate), key(v.B.IKPrivate), key(v.Prekeys.SPK), key(v.Ephemeral)
	same(t, "IK_A", a.PublicKey().Bytes(), v.A.IK)
	same(t, "IK_B", b.PublicKey().Bytes(), v.B.IK)
	id := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	h := &v.Handshake
	same(t, "DH1", scalarX(a, spk.PublicKey().Bytes()), h.DH1)
	same(t, "DH2", scalarX(ek, b.PublicKey().Bytes()), h.DH2)
	same(t, "DH3", scalarX(ek, spk.PublicKey().Bytes()), h.DH3)
	var opk []byte
	if v.Prekeys.OPKID != nil {
		public := key(v.Prekeys.OPK).PublicKey().Bytes()
		same(t, "DH4", scalarX(ek, public), h.DH4)
		opk = cat(id(*v.Prekeys.OPKID), public)
	} else if len(h.DH4) > 0 {
		t.Error("DH4 without a one-time prekey")
	}
	dk := must(mlkem.NewDecapsulationKey768(v.Prekeys.KEMSeed))
	same(t, "ss", must(dk.Decapsulate(h.CT)), h.SS)
	T := sha256.Sum256(cat(
		lp([]byte("parley/1"), []byte("PQXDH-secp256k1-MLKEM768-SHA256-ChaCha20Poly1305")),
		lp(v.A.Acct, v.A.Dev, v.A.IK, v.A.SK), lp(v.B.Acct, v.B.Dev, v.B.IK, v.B.SK),
		lp(ek.PublicKey().Bytes(), cat(id(v.Prekeys.SPKID), spk.PublicKey().Bytes()), opk,
			cat(id(v.Prekeys.KEMID), dk.EncapsulationKey().Bytes()), h.CT)))
	same(t, "T", T[:], h.T)
	out := plainHKDF(make([]byte, 32), cat(h.DH1, h.DH2, h.DH3, h.DH4, h.SS), cat([]byte("parley/1 pqxdh"), T[:]), 96)
	same(t, "RK", out[:32], h.RK)
	same(t, "HK_A", out[32:64], h.HKA)
	same(t, "NHK_B", out[64:], h.NHKB)

	rk := out[:32]
	next := [2][]byte{out[32:64], out[64:]} // the header keys of each side's next chain
	peer := spk                             // the ratchet key that the next step multiplies with
	lengths := [2]uint32{}
	offers := [2]*offerVector{}
	for i := range v.Chains {
		c := &v.Chains[i]
		side := i % 2
		own := key(c.Private)
		same(t, "dh", scalarX(own, peer.PublicKey().Bytes()), c.DH)
		same(t, "dh as the receiver has it", scalarX(peer, own.PublicKey().Bytes()), c.DH)
		ikm := c.DH
		var exts []byte
		if c.Answer != nil {
			o := offers[1-side]
			if o == nil || o.Number != c.Answer.Number {
				t.Fatalf("chain %d answers no offer", i)
			}
			same(t, "ss", must(must(mlkem.NewDecapsulationKey768(o.Seed)).Decapsulate(c.Answer.CT)), c.Answer.SS)
			ikm = cat(c.DH, c.Answer.SS)
			exts = cat([]byte{0, 2}, lp(cat(id(c.Answer.Number), c.Answer.CT)))
			offers[1-side] = nil
		}
		out := plainHKDF(rk, ikm, []byte("parley/1 ratchet"), 96)
		same(t, "rk", out[:32], c.RK)
		same(t, "ck", out[32:64], c.CK)
		same(t, "nhk", out[64:], c.NHK)
		same(t, "hk", next[side], c.HK)
		tk := plainHKDFExpand(c.HK, []byte("parley/1 tag"), 32)
		same(t, "tag key", tk, c.TagKey)
		pn := lengths[side]
		lengths[side] = uint32(len(c.Messages))
		ck := out[32:64]
		for j := range c.Messages {
			m := &c.Messages[j]
			if m.N != uint32(j) || m.PN != pn {
				t.Errorf("message %d has number %d, and %d before it", j, m.N, m.PN)
			}
			offer := []byte(nil)
			if m.Offer != nil {
				offers[side] = m.Offer
				k := must(mlkem.NewDecapsulationKey768(m.Offer.Seed))
				offer = cat([]byte{0, 1}, lp(cat(id(m.Offer.Number), k.EncapsulationKey().Bytes())))
			}
			flags := byte(0)
			if c.Answer != nil {
				flags = 1
			}
			header := cat([]byte{1, flags}, own.PublicKey().Bytes(), id(m.PN), id(m.N), lp(cat(offer, exts)))
			same(t, "header", header, m.Header)
			mk := mac(ck, []byte{1})
			same(t, "mk", mk, m.MK)
			ck = mac(ck, []byte{2})
			same(t, "next ck", ck, m.NextCK)
			hn := m.Body[:24]
			kn := plainHKDFExpand(mk, cat([]byte("parley/1 msg"), hn), 44)
			same(t, "key", kn[:32], m.Key)
			same(t, "nonce", kn[32:], m.Nonce)
			mask := mac(tk, hn)[:8]
			same(t, "mask", mask, m.Mask)

			// The wire.
			content := must(chacha20poly1305.New(kn[:32])).Seal(nil, kn[32:], m.Plaintext, cat(T[:], lp(cat(hn, header), m.AppAD)))
			padded := append(bytes.Clone(header), make([]byte, len(m.Body)-24-8-len(header)-16-len(content))...)
			sealed := must(chacha20poly1305.NewX(c.HK)).Seal(nil, hn, padded, content)
			length := cat(id(uint32(len(sealed))), id(0))
			for k := range length {
				length[k] ^= mask[k]
			}
			same(t, "body", cat(hn, length, sealed, content), m.Body)
			same(t, "tag", mac(tk, binary.BigEndian.AppendUint64(nil, uint64(m.N)))[:16], m.Tag)
			if m.First != nil {
				checkPlainFirst(t, v, m, T[:])
			} else if i == 0 {
				t.Error("a message before the answer is without its preamble")
			}
		}
		rk, next[side], peer = out[:32], out[64:], own
	}
}

func checkPlainFirst(t *testing.T, v *sessionVector, m *messageVector, T []byte) {
	f := m.First
	id := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	same(t, "first tag", mac(v.Prekeys.InboxKey, id(uint32(m.Time/604800)))[:16], f.Tag)
	x := must(chacha20poly1305.NewX(plainHKDFExpand(v.Prekeys.InboxKey, []byte("parley/1 first seal"), 32)))
	aad := cat([]byte{1}, f.Tag)
	inner, err := x.Open(nil, f.Body[:24], f.Body[24:], aad)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.BigEndian.Uint32(inner[65:])
	info := cat([]byte("parley/1 first"), lp(v.B.Acct, v.B.Dev))
	same(t, "preamble", plainHPKEOpen(t, must(secp.NewPrivateKey(v.B.IKPrivate)), inner[:65], info, aad, inner[69:69+n]), f.Preamble)
	same(t, "message inside", inner[69+n:], m.Body)
	opk := []byte{0}
	if v.Prekeys.OPKID != nil {
		opk = cat([]byte{1}, id(*v.Prekeys.OPKID))
	}
	same(t, "preamble by its fields", cat([]byte{1}, T, m.Tag, v.A.Acct, v.A.Dev, v.A.IK, v.A.SK, must(secp.NewPrivateKey(v.Ephemeral)).PublicKey().Bytes(),
		id(v.Prekeys.SPKID), opk, id(v.Prekeys.KEMID), v.Handshake.CT, lp(v.Hello)), f.Preamble)
	if len(f.Body) != 4096 {
		t.Errorf("a first message of %d bytes", len(f.Body))
	}
}

// checkPackage lets the package read every message of the vectors, each side
// those of the other. What the sides drew at random for their own chains is put
// into their states.
func checkPackage(t *testing.T, v *sessionVector) {
	identity := func(d *deviceVector) (id Identity) {
		copy(id.Acct[:], d.Acct)
		copy(id.Dev[:], d.Dev)
		id.IK, id.SK = must(secp.ParsePublicKey(d.IK)), must(secp.ParsePublicKey(d.SK))
		return id
	}
	b := newDevice(t, "bob")
	b.id, b.ik = identity(&v.B), must(secp.NewPrivateKey(v.B.IKPrivate))
	copy(b.inboxKey[:], v.Prekeys.InboxKey)
	b.spk = map[uint32]*secp.PrivateKey{v.Prekeys.SPKID: must(secp.NewPrivateKey(v.Prekeys.SPK))}
	b.kem = map[uint32]*KEMKey{v.Prekeys.KEMID: must(NewKEMKey(v.Prekeys.KEMSeed))}
	b.opk = map[uint32]*secp.PrivateKey{}
	if v.Prekeys.OPKID != nil {
		b.opk[*v.Prekeys.OPKID] = must(secp.NewPrivateKey(v.Prekeys.OPK))
	}
	// A as it was before its first chain.
	a := &Session{
		origin: &origin{id: ID(v.Handshake.T), peer: b.id}, rk: secret.Copy(v.Handshake.RK), nhks: secret.Copy(v.Handshake.HKA), nhkr: secret.Copy(v.Handshake.NHKB),
		dhr: b.spk[v.Prekeys.SPKID].PublicKey().Compressed(),
	}
	ends := [2]*Session{a, nil}
	for i := range v.Chains {
		c := &v.Chains[i]
		side := i % 2
		s := ends[side]
		s.replay(c)
		same(t, "the package's rk", s.rk.Bytes(), c.RK)
		same(t, "the package's ck", s.cks.Bytes(), c.CK)
		same(t, "the package's hk", s.hks.Bytes(), c.HK)
		same(t, "the package's nhk", s.nhks.Bytes(), c.NHK)
		for j := range c.Messages {
			m := &c.Messages[j]
			now := time.Unix(m.Time, 0)
			if m.Offer != nil {
				s.pq.offered, s.pq.seed, s.pq.ek = m.Offer.Number, secret.Copy(m.Offer.Seed), nil
			}
			_, following := kdfCK(s.cks)
			s.cks = secret.New(following[:])
			s.ns++
			var o *Opened
			var err error
			if m.First != nil {
				f := must(PeekFirst(b.id, b.ik, b.inboxKey, Message{Tag: Tag(m.First.Tag), Body: m.First.Body}, now))
				same(t, "the package's preamble", f.pre.marshal(), m.First.Preamble)
				if ends[1] == nil {
					o, err = f.Accept(b.id, b.ik, b, m.AppAD, now)
				} else {
					o, err = ends[1].Decrypt(Incoming{Tag: f.Message.Tag, Body: f.Message.Body, AppAD: m.AppAD}, now)
				}
			} else {
				o, err = ends[1-side].Decrypt(Incoming{Tag: m.tag(), Body: m.Body, AppAD: m.AppAD}, now)
			}
			if err != nil {
				t.Fatalf("chain %d, message %d: %v", i, j, err)
			}
			same(t, "plaintext", o.Plaintext, m.Plaintext)
			ends[1-side] = o.Session
			same(t, "the reader's rk", o.Session.rk.Bytes(), c.RK)
			same(t, "the reader's ck", o.Session.ckr.Bytes(), m.NextCK)
			same(t, "the reader's nhk", o.Session.nhkr.Bytes(), c.NHK)
			if m.Offer != nil && (o.Session.pq.taken != m.Offer.Number || o.Session.pq.kind != heldOffer) {
				t.Error("the offer was not taken")
			}
		}
	}
}

// replay is the send step with what a vector says was drawn in it.
func (s *Session) replay(c *chainVector) {
	key := must(secp.NewPrivateKey(c.Private))
	var ss []byte
	kind, held := s.pq.kind, s.pq.held
	if c.Answer != nil {
		ss = bytes.Clone(c.Answer.SS)
		kind, held = heldAnswer, c.Answer.CT
	}
	s.pn, s.ns, s.hks = uint32(s.ns), 0, s.nhks
	s.derive()
	s.rk, s.cks, s.nhks = kdfRK(s.rk, must(key.ECDH(must(secp.ParsePublicKey(s.dhr[:])))), ss)
	s.dhs, s.dhsPub = key.Bytes(), key.PublicKey().Compressed()
	s.pq.kind, s.pq.held = kind, held
}
