package ratchet

// meter watches a session and the states that come from it: it counts costly
// operations, and sees what must never repeat. Only tests set one.
type meter struct {
	counts
	// sealed is called before each sealing under a key of a session, stepped
	// after each send step. Both may be nil, and keep nothing of what they see.
	sealed  func(key, nonce []byte)
	stepped func(s *Session, rk, dh, ss []byte)
}

// counts has how often each operation was done.
type counts [5]int

// The operations counted.
const (
	countChain  = iota // steps of a symmetric chain
	countHeader        // AEAD openings of a header
	countDH            // scalar multiplications with a peer's point
	countKEM           // ML-KEM key generations, encapsulations, decapsulations and checks of a key
	countHPKE          // HPKE openings
)

func (m *meter) add(op int) {
	if m != nil {
		m.counts[op]++
	}
}

func (m *meter) seal(key, nonce []byte) {
	if m != nil && m.sealed != nil {
		m.sealed(key, nonce)
	}
}

func (m *meter) step(s *Session, rk, dh, ss []byte) {
	if m != nil && m.stepped != nil {
		m.stepped(s, rk, dh, ss)
	}
}
