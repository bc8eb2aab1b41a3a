package transport

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/secret"
)

func TestAddressOf(t *testing.T) {
	// The scalar 1: its address is known to everyone.
	scalar := make([]byte, 32)
	scalar[31] = 1
	key, err := secp.NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	id, err := PeerIDOf(key.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	addr, err := AddressOf(id)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(addr[:]); got != "7e5f4552091a69125d5dfcb7b8c2659029395bdf" {
		t.Fatal(got)
	}
	if got, err := HostKeyOf(id); err != nil || !bytes.Equal(got, key.PublicKey().Bytes()) {
		t.Fatalf("%x %v", got, err)
	}
}

func TestPeerIDsRefused(t *testing.T) {
	key, err := secp.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	id, err := PeerIDOf(key.PublicKey().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := multihash.Decode([]byte(id))
	if err != nil {
		t.Fatal(err)
	}
	identity := func(b []byte) peer.ID {
		h, err := multihash.Encode(b, multihash.IDENTITY)
		if err != nil {
			t.Fatal(err)
		}
		return peer.ID(h)
	}
	_, ed, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edID, err := peer.IDFromPublicKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	hashed, err := multihash.Sum(digest.Digest, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	// The same key as protobuf that says it in more bytes: an unknown field
	// at the end, and the length of the key in two bytes.
	longer := append(bytes.Clone(digest.Digest), 0x18, 0x00)
	padded := bytes.Clone(digest.Digest[:2])
	padded = append(padded, digest.Digest[2], digest.Digest[3]|0x80, 0x00)
	padded = append(padded, digest.Digest[4:]...)
	uncompressed := append([]byte{0x08, 0x02, 0x12, 65}, key.PublicKey().Uncompressed()...)
	for name, id := range map[string]peer.ID{
		"empty":         "",
		"noise":         "abc",
		"ed25519":       edID,
		"hash of a key": peer.ID(hashed),
		"unknown field": identity(longer),
		"long varint":   identity(padded),
		"uncompressed":  identity(uncompressed),
	} {
		if _, err := AddressOf(id); !errors.Is(err, ErrPeerID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if identity(digest.Digest) != id {
		t.Fatal("the test does not make ids as libp2p does")
	}
	for name, b := range map[string][]byte{
		"empty": nil, "uncompressed": key.PublicKey().Uncompressed(), "short": key.PublicKey().Bytes()[:32],
		"not on the curve": append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...),
	} {
		if _, err := PeerIDOf(b); !errors.Is(err, secp.ErrPublicKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// libp2p verifies what the host key signs, and takes it for the key it is.
func TestHostKeySigns(t *testing.T) {
	for range 64 { // long enough to meet integers with leading zeros
		scalar := secret.Random(32)
		key, err := newHostKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := crypto.UnmarshalSecp256k1PrivateKey(scalar.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		msg := []byte("libp2p-tls-handshake:")
		sig, err := key.Sign(msg)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := theirs.GetPublic().Verify(msg, sig); err != nil || !ok {
			t.Fatalf("%x does not verify: %v", sig, err)
		}
		want, err := theirs.Sign(msg) // RFC 6979 as well, so the same bytes
		if err != nil || !bytes.Equal(sig, want) {
			t.Fatalf("signature %x, want %x: %v", sig, want, err)
		}
		if !key.Equals(key) || key.Equals(theirs) {
			t.Fatal("Equals is for keys of its own type")
		}
	}
}

func FuzzAddressOf(f *testing.F) {
	f.Add([]byte{0, 37, 8, 2, 18, 33})
	f.Fuzz(func(t *testing.T, b []byte) {
		id := peer.ID(b)
		raw, err := HostKeyOf(id)
		if err != nil {
			return
		}
		again, err := PeerIDOf(raw)
		if err != nil || again != id {
			t.Fatal("a second id for one key")
		}
		if _, err := AddressOf(id); err != nil {
			t.Fatal(err)
		}
	})
}
