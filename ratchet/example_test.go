package ratchet_test

import (
	"fmt"
	"time"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/ratchet"
)

// prekeys are the private halves of one bundle.
type prekeys struct {
	signed *secp.PrivateKey
	kem    *ratchet.KEMKey
}

func (p prekeys) SignedPrekey(uint32) (*secp.PrivateKey, error) { return p.signed, nil }
func (p prekeys) OneTimePrekey(id uint32) (*secp.PrivateKey, error) {
	return nil, fmt.Errorf("no one-time prekey %d", id)
}
func (p prekeys) KEMKey(uint32) (*ratchet.KEMKey, error) { return p.kem, nil }

// Alice has bob's bundle and writes to him; bob, who has never heard of her,
// reads it and answers. Errors are left out for the eye, and so is storing
// every session state before its message leaves.
func Example() {
	now := time.Now()
	device := func(name string) (ratchet.Identity, *secp.PrivateKey) {
		ik, _ := secp.GenerateKey()
		sk, _ := secp.GenerateKey()
		id := ratchet.Identity{IK: ik.PublicKey(), SK: sk.PublicKey()}
		copy(id.Acct[:], name)
		return id, ik
	}
	alice, aliceKey := device("alice")
	bob, bobKey := device("bob")
	var own prekeys
	own.signed, _ = secp.GenerateKey()
	own.kem, _ = ratchet.GenerateKEMKey()
	inbox := [ratchet.InboxKeySize]byte{1, 2, 3}

	bundle := ratchet.PrekeyBundle{
		Identity: bob, SPKID: 1, SPK: own.signed.PublicKey(), EKID: 2, EK: own.kem.Public(), InboxKey: inbox,
	}
	a, _ := ratchet.Initiate(alice, aliceKey, bundle, []byte("who alice is"), now)
	a, m, _ := a.Encrypt([]byte("hello, bob"), nil, now)

	first, _ := ratchet.PeekFirst(bob, bobKey, inbox, m, now)
	fmt.Printf("a session with %q\n", first.Hello)
	opened, _ := first.Accept(bob, bobKey, own, nil, now)
	fmt.Printf("%s\n", opened.Plaintext)

	_, answer, _ := opened.Session.Encrypt([]byte("hello, alice"), nil, now)
	opened, _ = a.Decrypt(ratchet.Incoming{Tag: answer.Tag, Body: answer.Body}, now)
	fmt.Printf("%s\n", opened.Plaintext)
	// Output:
	// a session with "who alice is"
	// hello, bob
	// hello, alice
}
