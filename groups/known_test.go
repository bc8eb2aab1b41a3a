package groups

import (
	"encoding/hex"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
)

// Known answers for what Parley adds to RFC 9420. They were computed from the
// specification by a program of its own, and must never change.
func TestKnownAnswers(t *testing.T) {
	s, err := suite.ByID(suite.Secp256k1ChaCha20Poly1305)
	if err != nil {
		t.Fatal(err)
	}
	exporter := make([]byte, 32)
	for i := range exporter {
		exporter[i] = byte(i)
	}
	var acct [AcctSize]byte
	for i := range acct {
		acct[i] = byte(i)
	}
	e := &epoch{suite: s}
	e.deriveKeys(secret.New(exporter))
	tag, handshake := e.envelopeTag(ClassApplication, 7, 258), e.envelopeTag(ClassHandshake, 7, 258)
	cid := CreationCID([]byte("group"))
	commitCID := CommitCID([]byte("abc")) // SHA-256's own test vector
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"envelope key", e.envelopeKey.Bytes(), "fd9df2678f293a734f352ec1cd2850b44409d4b80f319a767a1ab76d42acc2fc"},
		{"tag key", e.tagKey.Bytes(), "c2a3d21787870e9f2cd3aaeafdfe64f493f9fadd27c3a017ef70669015b6a5a0"},
		{"handshake tag key", e.handshakeKey.Bytes(), "5665f20a29d4c853300f3a8a0757951b7408d34e6937b95b68340a571a20e3c1"},
		{"tag", tag[:], "665b3b6154b3fdd6bb3211dc4c12ffe6"},
		{"handshake tag", handshake[:], "b48249fb1ebf8d949d1f7d9f1507b5fb"},
		{"CID of a creation", cid[:], "a0ce921f6195964016cc95ca108cb343dae814e28f6c2001da3050ce98bc81e7"},
		{"CID of a commit", commitCID[:], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{
			"roles", Roles{Admins: [][]byte{EthereumSubject(acct)}, Add: Members}.Marshal(),
			"000102010101013736f0e1000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30313233",
		},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s: got %x, want %s", c.what, c.got, c.want)
		}
	}
	body, err := hex.DecodeString(
		"404142434445464748494a4b4c4d4e4f5051525354555657" + envelopeCiphertext)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := e.openEnvelope(tag, body)
	if err != nil || string(msg) != "message" {
		t.Errorf("envelope: %q, %v", msg, err)
	}
}

// envelopeCiphertext is LP("message") and five zeros, sealed with the keys above.
const envelopeCiphertext = "fb2cb50241698737f2d5d812e62a5781b948358d2d10daf9d16776f176ccde43"
