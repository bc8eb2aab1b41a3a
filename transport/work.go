package transport

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/parley-im/parley/internal/wire"
)

// workLabel separates the hash of a proof of work from every other hash.
const workLabel = "parley/1 work"

// mintBatch is after how many hashes Mint looks at its context.
const mintBatch = 1 << 12

// workSeed is SHA-256 over everything of the envelope but the work.
func (e Envelope) workSeed() [32]byte {
	h := sha256.New()
	h.Write([]byte{Version})
	h.Write(e.Nonce[:])
	h.Write(e.Tag[:])
	h.Write(e.Body)
	return [32]byte(h.Sum(nil))
}

// workInput is LP(workLabel) || seed || work, with work to be filled in.
func (e Envelope) workInput() []byte {
	seed := e.workSeed()
	in := wire.AppendLP(nil, []byte(workLabel))
	in = append(in, seed[:]...)
	return wire.AppendUint64(in, e.Work)
}

// CheckWork returns ErrWork unless SHA-256 over the envelope, with its work,
// begins with n zero bits. A network that asks for no bits asks for work to be
// zero. n is at most MaxWorkBits.
func (e Envelope) CheckWork(n int) error {
	if n == 0 {
		if e.Work != 0 {
			return fmt.Errorf("%w: not zero", ErrWork)
		}
		return nil
	}
	if zeroBits(sha256.Sum256(e.workInput())) < n {
		return ErrWork
	}
	return nil
}

// Mint sets Work so that CheckWork(n) passes. It takes 2^n hashes on average,
// and returns ErrWork for n outside 0 to MaxWorkBits and the context's error
// when that ends first, with the envelope as it was.
func (e *Envelope) Mint(ctx context.Context, n int) error {
	if n < 0 || n > MaxWorkBits {
		return fmt.Errorf("%w: %d bits asked for", ErrWork, n)
	}
	if n == 0 {
		e.Work = 0
		return nil
	}
	in := e.workInput()
	field := in[len(in)-WorkSize:]
	for work := uint64(0); ; work++ {
		if work%mintBatch == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("transport: proof of work: %w", err)
			}
		}
		binary.BigEndian.PutUint64(field, work)
		if zeroBits(sha256.Sum256(in)) >= n {
			e.Work = work
			return nil
		}
	}
}

// zeroBits counts the leading zero bits of the first eight bytes, enough for
// MaxWorkBits.
func zeroBits(h [32]byte) int {
	return bits.LeadingZeros64(binary.BigEndian.Uint64(h[:8]))
}
