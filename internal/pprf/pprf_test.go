package pprf

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"flag"
	"hash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/vectors"
)

//go:generate go test . -count=1 -run Vectors$ -pprf.vectors

var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}

func key(r *rand.Rand, n int) secret.Key {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return secret.New(b)
}

func point(r *rand.Rand) (x Point) {
	copy(x[:], key(r, PointSize).Bytes())
	return x
}

// straight is the value by the definition.
func straight(newHash func() hash.Hash, root []byte, x Point) []byte {
	seed := root
	for i := range depth {
		h := newHash()
		h.Write(append(slices.Clone(seed), x[i/8]>>(7-i%8)&1))
		seed = h.Sum(nil)
	}
	return seed
}

// near is a point that first differs from x in bit i.
func near(x Point, i int, r *rand.Rand) Point {
	y := point(r)
	for j := range i + 1 {
		mask := byte(1) << (7 - j%8)
		y[j/8] = y[j/8]&^mask | x[j/8]&mask
	}
	y[i/8] ^= 1 << (7 - i%8)
	return y
}

func punctured(t testing.TB, f *Function, points ...Point) *Function {
	t.Helper()
	for _, x := range points {
		next, spent, err := f.Puncture(x)
		if err != nil {
			t.Fatal(err)
		}
		spent.Erase()
		f = next
	}
	return f
}

// Everywhere but where it was punctured a function has the values it had, also
// after it was stored; there it has none.
func TestPuncture(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, newHash := range hashes {
		t.Run(name, func(t *testing.T) {
			root := key(r, newHash().Size())
			f := New(newHash, root.Clone())
			var points []Point
			for n := range MaxPunctures {
				x := point(r)
				if n%3 == 1 { // close to one of those before
					x = near(points[r.IntN(n)], depth-1-r.IntN(3), r)
				}
				if slices.Contains(points, x) {
					x = point(r)
				}
				points = append(points, x)
				before := f
				next, spent, err := f.Puncture(x)
				if err != nil {
					t.Fatal(err)
				}
				if v, err := before.Evaluate(x); err != nil || !bytes.Equal(v.Bytes(), straight(newHash, root.Bytes(), x)) {
					t.Fatalf("the state before was changed: %v", err)
				}
				spent.Erase()
				if f, err = Unmarshal(newHash, next.Marshal()); err != nil {
					t.Fatal(err)
				}
				if !f.Marshal().Equal(next.Marshal()) || f.Punctures() != n+1 {
					t.Fatal("other state after it was stored")
				}
				for _, x := range points {
					if _, err := f.Evaluate(x); !errors.Is(err, ErrPunctured) {
						t.Fatalf("value at a punctured point: %v", err)
					}
					if _, _, err := f.Puncture(x); !errors.Is(err, ErrPunctured) {
						t.Fatalf("punctured twice: %v", err)
					}
				}
				for i := range depth {
					y := near(x, i, r)
					if slices.Contains(points, y) {
						continue
					}
					v, err := f.Evaluate(y)
					if err != nil || !bytes.Equal(v.Bytes(), straight(newHash, root.Bytes(), y)) {
						t.Fatalf("after %d punctures, beside one at bit %d: %v", n+1, i, err)
					}
				}
			}
			if _, _, err := f.Puncture(point(r)); !errors.Is(err, ErrFull) {
				t.Errorf("one puncture too many: %v", err)
			}
			if size := f.Marshal().Len(); size > MaxPunctures*depth*(newHash().Size()+2)+1 {
				t.Errorf("%d bytes", size)
			}
		})
	}
}

// Who has the stored state of a function cannot derive the value where it was
// punctured: no seed on the way there is in it, and whatever it has leads
// elsewhere, from whichever depth one begins.
func TestPuncturedStateDoesNotLeadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	root := key(r, sha256.Size)
	x := point(r)
	points := []Point{point(r), near(x, 60, r), x, near(x, depth-1, r), point(r)}
	f := New(sha256.New, root.Clone())
	for n, p := range points {
		f = punctured(t, f, p)
		if n < 2 {
			continue // not yet at x
		}
		stored := f.Marshal().Bytes()
		seed := root.Bytes()
		for d := range depth + 1 {
			if bytes.Contains(stored, seed) {
				t.Fatalf("the seed at depth %d on the way is stored", d)
			}
			if d < depth {
				h := sha256.Sum256(append(slices.Clone(seed), x.bit(d)))
				seed = h[:]
			}
		}
		value := seed
		// The attacker reads the format and tries every seed at every depth.
		for at := 0; at < len(stored); {
			if stored[at] != stateSeed {
				at++
				continue
			}
			found := stored[at+1 : at+1+sha256.Size]
			at += 1 + sha256.Size
			for from := range depth {
				s := [sha256.Size]byte(found)
				for d := from; d < depth; d++ {
					s = sha256.Sum256(append(s[:], x.bit(d)))
				}
				if bytes.Equal(s[:], value) {
					t.Fatalf("a stored seed leads to the value from depth %d", from)
				}
			}
		}
	}
}

func TestStateRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := point(r)
	f := punctured(t, New(sha256.New, key(r, 32)), x, near(x, depth-1, r), point(r))
	good := f.Marshal().Bytes()
	for i := range good {
		if _, err := Unmarshal(sha256.New, secret.Copy(good[:i])); !errors.Is(err, ErrState) {
			t.Fatalf("prefix of %d bytes: %v", i, err)
		}
	}
	seed := append([]byte{stateSeed}, make([]byte, 32)...)
	for name, bad := range map[string][]byte{
		"a byte too many":          append(slices.Clone(good), 0),
		"nothing left at the root": {stateGone},
		"a split without puncture": slices.Concat([]byte{stateSplit}, seed, seed),
		"too deep":                 bytes.Repeat([]byte{stateSplit}, depth+1),
		"of no kind":               {3},
	} {
		if _, err := Unmarshal(sha256.New, secret.New(bad)); !errors.Is(err, ErrState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := New(sha256.New, key(r, 32))
	for range MaxPunctures {
		many = punctured(t, many, point(r))
	}
	many.punctures--
	over := punctured(t, many, point(r))
	if _, err := Unmarshal(sha256.New, over.Marshal()); !errors.Is(err, ErrState) {
		t.Errorf("too many punctures: %v", err)
	}
}

func TestErase(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	f := punctured(t, New(sha256.New, key(r, 32)), point(r))
	views := [][]byte{}
	for n := f.root; n != nil; {
		for b := range 2 {
			if c := n.child[b]; c != nil && !c.seed.IsZero() {
				views = append(views, c.seed.Bytes())
			}
		}
		if n.child[0] != nil && n.child[0].seed.IsZero() {
			n = n.child[0]
		} else if n.child[1] != nil && n.child[1].seed.IsZero() {
			n = n.child[1]
		} else {
			n = nil
		}
	}
	f.Erase()
	if len(views) != depth {
		t.Fatalf("%d seeds", len(views))
	}
	for _, v := range views {
		if !bytes.Equal(v, make([]byte, 32)) {
			t.Fatal("a seed is left")
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	x := point(r)
	fn := New(sha256.New, key(r, 32))
	f.Add(fn.Marshal().Bytes())
	fn = punctured(f, fn, x)
	f.Add(fn.Marshal().Bytes())
	f.Add(punctured(f, fn, near(x, depth-1, r), point(r)).Marshal().Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Unmarshal(sha256.New, secret.Copy(data))
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !bytes.Equal(g.Marshal().Bytes(), data) {
			t.Fatal("not canonical")
		}
		if next, _, err := g.Puncture(x); err == nil {
			if _, err := next.Evaluate(x); !errors.Is(err, ErrPunctured) {
				t.Fatal("not punctured")
			}
		}
	})
}

var makeVectors = flag.Bool("pprf.vectors", false, "make the test vectors if testdata has none")

type vector struct {
	Hash      string        `json:"hash"`
	Root      vectors.Hex   `json:"root"`
	Punctures []vectors.Hex `json:"punctures"` // one after the other
	State     []vectors.Hex `json:"state"`     // SHA-256 of the stored state after each
	Points    []vectors.Hex `json:"points"`
	Values    []vectors.Hex `json:"values"`
}

func TestVectors(t *testing.T) {
	file := filepath.Join("testdata", "pprf.json")
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) && *makeVectors {
		data = makeFile(t, file)
	} else if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < len(hashes) {
		t.Fatalf("%d cases", len(all))
	}
	for i, v := range all {
		f := New(hashes[v.Hash], secret.Copy(v.Root))
		for n, p := range v.Punctures {
			f = punctured(t, f, Point(p))
			if got := sha256.Sum256(f.Marshal().Bytes()); !bytes.Equal(got[:], v.State[n]) {
				t.Errorf("case %d: another state after %d punctures", i, n+1)
			}
		}
		for n, p := range v.Points {
			if got, err := f.Evaluate(Point(p)); err != nil || !bytes.Equal(got.Bytes(), v.Values[n]) {
				t.Errorf("case %d: point %d: %v", i, n, err)
			}
		}
	}
}

func makeFile(t *testing.T, file string) []byte {
	r := rand.New(rand.NewPCG(11, 12))
	var all []vector
	for _, name := range []string{"sha256", "sha384", "sha512"} {
		root := key(r, hashes[name]().Size())
		v := vector{Hash: name, Root: root.Bytes()}
		f := New(hashes[name], root.Clone())
		x := point(r)
		for _, p := range []Point{x, near(x, depth-1, r), point(r)} {
			f = punctured(t, f, p)
			state := sha256.Sum256(f.Marshal().Bytes())
			v.Punctures = append(v.Punctures, p[:])
			v.State = append(v.State, state[:])
		}
		for _, p := range []Point{{}, near(x, depth-2, r), near(x, 0, r), point(r)} {
			v.Points = append(v.Points, p[:])
			v.Values = append(v.Values, straight(hashes[name], root.Bytes(), p))
		}
		all = append(all, v)
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

func BenchmarkEvaluate(b *testing.B) {
	r := rand.New(rand.NewPCG(13, 14))
	f := New(sha256.New, key(r, 32))
	x := point(r)
	for b.Loop() {
		if _, err := f.Evaluate(x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPuncture(b *testing.B) {
	for _, n := range []int{0, MaxPunctures - 1} {
		b.Run(map[int]string{0: "first", MaxPunctures - 1: "sixteenth"}[n], func(b *testing.B) {
			r := rand.New(rand.NewPCG(15, 16))
			f := New(sha256.New, key(r, 32))
			for range n {
				f = punctured(b, f, point(r))
			}
			var next *Function
			for b.Loop() {
				var err error
				if next, _, err = f.Puncture(point(r)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(next.Marshal().Len()), "stored-B")
		})
	}
}
