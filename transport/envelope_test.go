package transport

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/parley-im/parley/internal/wire"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, size := range Sizes() {
		e := randomEnvelope(t, size)
		e.Work = 0x0102030405060708
		b := e.Marshal()
		if len(b) != HeaderSize+size {
			t.Fatalf("%d bytes on the wire", len(b))
		}
		if len(b)+256 > MaxMessage {
			t.Fatalf("%d bytes leave no room for gossipsub's framing", len(b))
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Nonce != e.Nonce || got.Tag != e.Tag || got.Work != e.Work || !bytes.Equal(got.Body, e.Body) {
			t.Fatal("another envelope came back")
		}
		b[HeaderSize]++
		if !bytes.Equal(got.Body, e.Body) {
			t.Fatal("the body is a view of the input")
		}
	}
}

func TestEnvelopeRejects(t *testing.T) {
	b := randomEnvelope(t, 1024).Marshal()
	for i := range b {
		_, err := Parse(b[:i])
		switch {
		case i < HeaderSize && !errors.Is(err, wire.ErrTruncated):
			t.Fatalf("prefix of %d bytes: %v", i, err)
		case i == HeaderSize+256:
			// What is left is an envelope of the size below, and whoever
			// opens it finds that it is not authentic.
		case i >= HeaderSize && i != HeaderSize+256 && !errors.Is(err, ErrSize):
			t.Fatalf("prefix of %d bytes: %v", i, err)
		}
	}
	if _, err := Parse(append(b, 0)); !errors.Is(err, ErrSize) {
		t.Fatalf("a byte more: %v", err)
	}
	for _, version := range []byte{0, 2, 255} {
		b[0] = version
		if _, err := Parse(b); !errors.Is(err, ErrVersion) {
			t.Fatalf("version %d: %v", version, err)
		}
	}
	if _, err := NewEnvelope(Tag{}, make([]byte, 255)); !errors.Is(err, ErrSize) {
		t.Fatalf("body of 255 bytes: %v", err)
	}
}

func TestContentHash(t *testing.T) {
	e := randomEnvelope(t, 256)
	again := e.Reseal()
	if again.Nonce == e.Nonce {
		t.Fatal("the nonce is the same")
	}
	if again.ContentHash() != e.ContentHash() {
		t.Fatal("a retry has another hash")
	}
	again.Work++
	if again.ContentHash() != e.ContentHash() {
		t.Fatal("work changes the hash")
	}
	other := e
	other.Tag[0]++
	if other.ContentHash() == e.ContentHash() {
		t.Fatal("the tag is not in the hash")
	}
	other = e
	other.Body = bytes.Clone(e.Body)
	other.Body[255]++
	if other.ContentHash() == e.ContentHash() {
		t.Fatal("the body is not in the hash")
	}
}

func TestPad(t *testing.T) {
	for _, c := range []struct{ content, overhead, want int }{
		{0, 0, 256},
		{0, 255, 256},
		{0, 256, 1024},
		{255, 0, 256},
		{256, 0, 1024},
		{215, 40, 256},
		{216, 40, 1024},
		{1023, 0, 1024},
		{4095, 0, 4096},
		{16383, 0, 16384},
		{16384, 0, MaxBody},
		{MaxBody - 41, 40, MaxBody},
	} {
		content := bytes.Repeat([]byte{0x80}, c.content)
		padded, err := Pad(content, c.overhead)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if len(padded)+c.overhead != c.want {
			t.Fatalf("%+v: body of %d bytes", c, len(padded)+c.overhead)
		}
		got, err := Unpad(padded)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%+v: %d bytes came back: %v", c, len(got), err)
		}
	}
	for _, c := range []struct{ content, overhead int }{{MaxBody, 0}, {MaxBody - 40, 40}, {0, -1}, {0, MaxBody}, {0, 1 << 62}} {
		if _, err := Pad(make([]byte, c.content), c.overhead); !errors.Is(err, ErrSize) {
			t.Fatalf("%+v: %v", c, err)
		}
	}
	for _, bad := range [][]byte{nil, {0}, make([]byte, 256), {0x80, 1}, {1, 0}} {
		if _, err := Unpad(bad); !errors.Is(err, ErrPadding) {
			t.Fatalf("%x: %v", bad, err)
		}
	}
}

func TestMint(t *testing.T) {
	e := randomEnvelope(t, 256)
	if err := e.CheckWork(12); !errors.Is(err, ErrWork) {
		e.Nonce[0]++ // one envelope in 4096 has the work by chance
	}
	if err := e.Mint(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	for bits := 1; bits <= 12; bits++ {
		if err := e.CheckWork(bits); err != nil {
			t.Fatalf("%d bits: %v", bits, err)
		}
	}
	if err := e.CheckWork(64); !errors.Is(err, ErrWork) {
		t.Fatalf("64 bits: %v", err)
	}
	if e.Work != 0 && !errors.Is(e.CheckWork(0), ErrWork) {
		t.Fatal("work in a network that asks for none is accepted")
	}
	for _, bits := range []int{-1, MaxWorkBits + 1} {
		if err := e.Mint(t.Context(), bits); !errors.Is(err, ErrWork) {
			t.Fatalf("%d bits: %v", bits, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := e.Work
	if err := e.Mint(ctx, MaxWorkBits); !errors.Is(err, context.Canceled) || e.Work != before {
		t.Fatalf("cancelled: %v", err)
	}
	if err := e.Mint(t.Context(), 0); err != nil || e.CheckWork(0) != nil {
		t.Fatalf("no bits: %v", err)
	}
}

func TestShards(t *testing.T) {
	if got := Topic("main", 3); got != "/parley/1/main/shard/3" {
		t.Fatal(got)
	}
	for _, c := range []struct {
		first byte
		n     int
		want  int
	}{{0, 8, 0}, {7, 8, 7}, {8, 8, 0}, {255, 8, 7}, {255, 256, 255}, {200, 1, 0}} {
		if got := ShardOf([32]byte{c.first, 9}, c.n); got != c.want {
			t.Fatalf("%+v: %d", c, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(randomEnvelope(f, 256).Marshal())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Marshal(), b) {
			t.Fatal("another encoding")
		}
	})
}

func FuzzUnpad(f *testing.F) {
	f.Add([]byte{1, 0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := Unpad(b)
		if err == nil && (len(content) >= len(b) || b[len(content)] != 0x80) {
			t.Fatal("wrong content")
		}
		if padded, err := Pad(b, 16); err == nil {
			if got, err := Unpad(padded); err != nil || !bytes.Equal(got, b) {
				t.Fatal("padding does not come off")
			}
		}
	})
}

func BenchmarkEnvelopeMarshal(b *testing.B) {
	e := randomEnvelope(b, 1024)
	b.ReportAllocs()
	for b.Loop() {
		e.Marshal()
	}
}

func BenchmarkEnvelopeParse(b *testing.B) {
	raw := randomEnvelope(b, 1024).Marshal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}
