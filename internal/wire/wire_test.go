package wire

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// RFC 9420, Section 2.1.2 gives these encodings as examples, and demands that
// longer encodings of the same value are refused.
func TestVarintExamples(t *testing.T) {
	for _, c := range []struct {
		in  []byte
		n   int
		err error
	}{
		{[]byte{0x9d, 0x7f, 0x3e, 0x7d}, 494878333, nil},
		{[]byte{0x7b, 0xbd}, 15293, nil},
		{[]byte{0x25}, 37, nil},
		{[]byte{0x40, 0x25}, 0, ErrLength},
		{[]byte{0x80, 0x00, 0x3f, 0xff}, 0, ErrLength},
		{[]byte{0xc0, 0, 0, 0, 0, 0, 0, 0}, 0, ErrLength},
		{[]byte{0x7b}, 0, ErrTruncated},
		{[]byte{0x9d, 0x7f, 0x3e}, 0, ErrTruncated},
		{nil, 0, ErrTruncated},
	} {
		r := NewReader(c.in)
		n := r.Varint()
		if !errors.Is(r.Err(), c.err) || (c.err == nil && n != c.n) {
			t.Errorf("%x: got %d, %v; want %d, %v", c.in, n, r.Err(), c.n, c.err)
		}
		if c.err == nil && !bytes.Equal(AppendVarint(nil, c.n), c.in) {
			t.Errorf("%d: encodes to %x, want %x", c.n, AppendVarint(nil, c.n), c.in)
		}
	}
}

// A huge claimed length must fail before memory is asked for.
func TestHugeLengthAllocatesNothing(t *testing.T) {
	in := []byte{0xbf, 0xff, 0xff, 0xff, 1, 2, 3}
	allocs := testing.AllocsPerRun(100, func() {
		r := Reader{rest: in}
		if r.Vec() != nil || !errors.Is(r.Err(), ErrTruncated) {
			t.Fatal("huge vector was read")
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u8 := rapid.Uint8().Draw(t, "u8")
		u16 := rapid.Uint16().Draw(t, "u16")
		u32 := rapid.Uint32().Draw(t, "u32")
		u64 := rapid.Uint64().Draw(t, "u64")
		vec := rapid.SliceOfN(rapid.Byte(), 0, 20000).Draw(t, "vec")
		present := rapid.Bool().Draw(t, "present")

		b := AppendUint8([]byte("canary"), u8)
		b = AppendUint16(b, u16)
		b = AppendUint32(b, u32)
		b = AppendUint64(b, u64)
		b = AppendVec(b, vec)
		b = AppendVecFunc(b, func(b []byte) []byte { return append(b, vec...) })
		b = AppendLP(b, vec)
		b = AppendOptional(b, present)
		b = b[len("canary"):]

		decode := func(b []byte) error {
			r := NewReader(b)
			ok := r.Uint8() == u8 && r.Uint16() == u16 && r.Uint32() == u32 && r.Uint64() == u64 &&
				bytes.Equal(r.Vec(), vec)
			sub := r.Sub()
			ok = ok && bytes.Equal(sub.Rest(), vec)
			r.Join(sub)
			ok = ok && bytes.Equal(r.LP(20000), vec) && r.Optional() == present
			if r.Err() == nil && !ok {
				t.Fatal("fields differ after a round trip")
			}
			return r.Done()
		}
		if err := decode(b); err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if err := decode(b[:cut]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("prefix of %d of %d bytes: %v", cut, len(b), err)
		}
		if err := decode(append(b, 0)); !errors.Is(err, ErrTrailing) {
			t.Fatalf("trailing byte: %v", err)
		}
	})
}

func TestLimits(t *testing.T) {
	r := NewReader(AppendVec(nil, make([]byte, 100)))
	if r.VecMax(99); !errors.Is(r.Err(), ErrLength) {
		t.Errorf("VecMax: %v", r.Err())
	}
	r = NewReader(AppendLP(nil, make([]byte, 100)))
	if r.LP(99); !errors.Is(r.Err(), ErrLength) {
		t.Errorf("LP: %v", r.Err())
	}
	r = NewReader([]byte{2})
	if r.Optional(); !errors.Is(r.Err(), ErrValue) {
		t.Errorf("Optional: %v", r.Err())
	}
}

// What a Reader accepts as a vector is encoded in exactly one way.
func FuzzVec(f *testing.F) {
	f.Add([]byte{0x02, 1, 2})
	f.Add([]byte{0x40, 0x40})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(in)
		v := r.Vec()
		if r.Done() == nil && !bytes.Equal(AppendVec(nil, v), in) {
			t.Fatalf("%x re-encodes differently", in)
		}
	})
}
