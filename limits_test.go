package parley

import (
	"errors"
	"testing"

	"github.com/parley-im/parley/identity"
)

// account returns a person's account.
func (p *person) account() identity.Account { return p.me.account }

// A number at the end of what counts can be held, released and followed, and
// one beyond it is refused: the outbox is not held up by what a contact makes
// up.
func TestSequenceNumbersHaveAnEnd(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join("alice"), w.join("bob")
	content := Text("the last one")
	content.ID, content.Seq = NewMessageID(), maxSeq
	conv, dev := pairConv(bob.account()), make([]byte, 32)
	err := alice.step(t.Context(), func(s *step) error {
		if err := s.inOrder(conv, dev, bob.account(), content); err != nil {
			return err
		}
		_, err := s.Exec(`UPDATE held SET at = 0`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.step(t.Context(), (*step).releaseOverdue); err != nil {
		t.Errorf("release: %v", err)
	}
	alice.until("it", heard("the last one"))
	for _, beyond := range []uint64{maxSeq + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		content.Seq = beyond
		b, err := contentEncoding.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseContent(b); !errors.Is(err, ErrContent) {
			t.Errorf("number %d: %v, want ErrContent", beyond, err)
		}
	}
}
