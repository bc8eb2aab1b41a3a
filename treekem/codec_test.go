package treekem

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
)

func drawBytes(t *rapid.T, name string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, name)
}

func drawUint16s[T ~uint16](t *rapid.T, name string) []T {
	var out []T
	for _, v := range rapid.SliceOfN(rapid.Uint16(), 0, 40).Draw(t, name) {
		out = append(out, T(v))
	}
	return out
}

func drawLeaf(t *rapid.T) *LeafNode {
	l := &LeafNode{
		EncryptionKey: drawBytes(t, "encryption key"),
		SignatureKey:  drawBytes(t, "signature key"),
		Credential:    Credential{CredentialType(rapid.Uint16Range(3, 9).Draw(t, "credential")), drawBytes(t, "body")},
		Capabilities: Capabilities{
			Versions:    drawUint16s[ProtocolVersion](t, "versions"),
			Suites:      drawUint16s[suite.ID](t, "suites"),
			Extensions:  drawUint16s[ExtensionType](t, "extension types"),
			Proposals:   drawUint16s[ProposalType](t, "proposal types"),
			Credentials: drawUint16s[CredentialType](t, "credential types"),
		},
		Source:    LeafSource(rapid.IntRange(1, 3).Draw(t, "source")),
		Signature: drawBytes(t, "signature"),
	}
	switch l.Source {
	case SourceKeyPackage:
		l.Lifetime = Lifetime{rapid.Uint64().Draw(t, "from"), rapid.Uint64().Draw(t, "to")}
	case SourceCommit:
		l.ParentHash = drawBytes(t, "parent hash")
	}
	for range rapid.IntRange(0, 3).Draw(t, "extensions") {
		l.Extensions = append(l.Extensions, Extension{ExtensionType(rapid.Uint16().Draw(t, "type")), drawBytes(t, "data")})
	}
	return l
}

func drawParent(t *rapid.T) *ParentNode {
	p := &ParentNode{EncryptionKey: drawBytes(t, "key"), ParentHash: drawBytes(t, "parent hash")}
	next := LeafIndex(0)
	for range rapid.IntRange(0, 40).Draw(t, "unmerged") {
		next += LeafIndex(rapid.IntRange(1, 100).Draw(t, "gap"))
		p.UnmergedLeaves = append(p.UnmergedLeaves, next)
	}
	return p
}

func drawPath(t *rapid.T) *UpdatePath {
	p := &UpdatePath{Leaf: drawLeaf(t)}
	for range rapid.IntRange(0, 4).Draw(t, "nodes") {
		n := UpdatePathNode{EncryptionKey: drawBytes(t, "key")}
		for range rapid.IntRange(0, 3).Draw(t, "secrets") {
			n.Secrets = append(n.Secrets, Ciphertext{drawBytes(t, "kem output"), drawBytes(t, "ciphertext")})
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

// codec is a structure's decoder followed by its encoder.
type codec func(b []byte) ([]byte, error)

func readerCodec[T interface{ Append([]byte) []byte }](read func(*wire.Reader) T) codec {
	return func(b []byte) ([]byte, error) {
		r := wire.NewReader(b)
		v := read(r)
		if err := r.Done(); err != nil {
			return nil, err
		}
		return v.Append(nil), nil
	}
}

var (
	leafCodec   = readerCodec(ReadLeafNode)
	parentCodec = readerCodec(ReadParentNode)
	pathCodec   = readerCodec(ReadUpdatePath)
)

func privateCodec(b []byte) ([]byte, error) {
	p, err := ParsePrivate(b)
	if err != nil {
		return nil, err
	}
	return p.Marshal().Bytes(), nil
}

func treeCodec(b []byte) ([]byte, error) {
	s, err := suite.ByID(suite.X25519AES128GCMEd25519)
	if err != nil {
		return nil, err
	}
	t, err := Parse(s, b)
	if err != nil {
		return nil, err
	}
	return t.Append(nil), nil
}

// checkCodec checks that an encoding survives, and that nothing shorter or
// longer is accepted.
func checkCodec(t fataler, c codec, b []byte) {
	t.Helper()
	again, err := c(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("encodes to %x, was %x", again, b)
	}
	for n := range b {
		if _, err := c(b[:n]); err == nil {
			t.Fatalf("a prefix of %d of %d bytes is accepted", n, len(b))
		}
	}
	if _, err := c(append(bytes.Clone(b), 0)); err == nil {
		t.Fatal("a trailing byte is accepted")
	}
}

func TestCodecs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkCodec(t, leafCodec, drawLeaf(t).Append(nil))
		checkCodec(t, parentCodec, drawParent(t).Append(nil))
		checkCodec(t, pathCodec, drawPath(t).Append(nil))
	})
	for _, s := range suite.All() {
		w := newWorld(t, s, 5).full(t)
		if s.ID() == suite.X25519AES128GCMEd25519 {
			checkCodec(t, treeCodec, w.tree.Append(nil))
		}
		for i, p := range w.privates {
			checkCodec(t, privateCodec, p.Marshal().Bytes())
			// A stored state goes on as the live one would have.
			stored, err := ParsePrivate(p.Marshal().Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if len(stored.nodes) != len(p.nodes) || stored.Index() != i || !bytes.Equal(stored.LeafKey(), p.LeafKey()) {
				t.Fatal("a stored state differs")
			}
			w.privates[i] = stored
		}
		w.commit(t, 3)
		w.check(t)
	}
}

func TestExtensions(t *testing.T) {
	e := Extensions{{1, []byte("a")}, {0xF0E1, nil}, {1, []byte("b")}}
	checkCodec(t, readerCodec(ReadExtensions), e.Append(nil))
	if r := wire.NewReader(make(Extensions, MaxExtensions).Append(nil)); len(ReadExtensions(r)) != MaxExtensions || r.Done() != nil {
		t.Errorf("%d extensions are refused: %v", MaxExtensions, r.Err())
	}
	if data, ok := e.Find(1); !ok || string(data) != "a" {
		t.Errorf("%q, %v", data, ok)
	}
	if _, ok := e.Find(2); ok {
		t.Error("found what is not there")
	}
	if e.Unique() || !e[:2].Unique() || !Extensions(nil).Unique() {
		t.Error("Unique is wrong")
	}
}

func TestParseRejects(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	w := newWorld(t, s, 3).full(t)
	leaf, _ := w.tree.Leaf(0)
	slotLeaf := leaf.Append([]byte{1, typeLeaf})
	slotParent := w.tree.node(1).parent.Append([]byte{1, typeParent})
	join := func(slots ...[]byte) []byte { return wire.AppendVec(nil, bytes.Join(slots, nil)) }
	blank := []byte{0}

	for _, good := range [][]byte{join(slotLeaf), join(slotLeaf, slotParent, slotLeaf), join(blank, blank, slotLeaf)} {
		if _, err := Parse(s, good); err != nil {
			t.Error(err)
		}
	}
	for name, bad := range map[string][]byte{
		"empty":                   join(),
		"blank":                   join(blank),
		"trailing blank":          join(slotLeaf, blank),
		"trailing blanks":         join(slotLeaf, blank, blank),
		"ends in a parent":        join(slotLeaf, slotParent),
		"leaf for a parent":       join(slotLeaf, slotLeaf, slotLeaf),
		"parent for a leaf":       join(slotParent),
		"node of type 3":          join(append([]byte{1, 3}, slotLeaf[2:]...)),
		"presence octet 2":        join(append([]byte{2}, slotLeaf[1:]...)),
		"too many leaves":         join(make([]byte, 2*MaxLeaves), slotLeaf),
		"huge length":             {0xbf, 0xff, 0xff, 0xff, 0},
		"leaf of no source":       join((&LeafNode{Source: 0}).Append([]byte{1, typeLeaf})),
		"leaf beyond its limit":   join((&LeafNode{Source: 2, Extensions: Extensions{{1, make([]byte, MaxLeafNode)}}}).Append([]byte{1, typeLeaf})),
		"too many extensions":     join((&LeafNode{Source: 2, Extensions: make(Extensions, MaxExtensions+1)}).Append([]byte{1, typeLeaf})),
		"key beyond its limit":    join((&LeafNode{Source: 2, EncryptionKey: make([]byte, MaxKey+1)}).Append([]byte{1, typeLeaf})),
		"unmerged leaf twice":     join(slotLeaf, (&ParentNode{UnmergedLeaves: []LeafIndex{1, 1}}).Append([]byte{1, typeParent}), slotLeaf),
		"unmerged leaves falling": join(slotLeaf, (&ParentNode{UnmergedLeaves: []LeafIndex{1, 0}}).Append([]byte{1, typeParent}), slotLeaf),
		"unmerged leaf 2^31":      join(slotLeaf, (&ParentNode{UnmergedLeaves: []LeafIndex{1 << 31}}).Append([]byte{1, typeParent}), slotLeaf),
	} {
		if _, err := Parse(s, bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}

	stored := w.privates[2].Marshal().Bytes()
	for name, change := range map[string]func(b []byte){
		"version":        func(b []byte) { b[1] = 9 },
		"suite":          func(b []byte) { b[2] = 0xEE },
		"leaf index":     func(b []byte) { b[7] = 1 },
		"huge leaf":      func(b []byte) { b[4] = 0xFF },
		"leaf not there": func(b []byte) { b[7] = 3 },
	} {
		b := bytes.Clone(stored)
		change(b)
		if _, err := ParsePrivate(b); err == nil {
			t.Errorf("private state with another %s is accepted", name)
		}
	}
}

// What bytes from a peer make this package allocate, in all and not at a time,
// is at most a factor times their number, and memoryBase for what work on a
// small tree costs anyway. In a tree a blank is one byte, and is a node, with a
// hash, in a tree that is filled up to a power of two.
const (
	memoryFactor = 256
	treeFactor   = 2048
	memoryBase   = 2 << 20
)

// bounded runs f, which decodes or validates n bytes.
func bounded(tb testing.TB, what string, n, factor int, f func()) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(n)*uint64(factor)+memoryBase {
		tb.Errorf("%s of %d bytes: %d bytes allocated", what, n, got)
	}
}

// Inputs in which every byte or two ask for as much memory as they can.
func TestHostileSizesAllocateLittle(t *testing.T) {
	s := mustSuite(t, suite.X25519AES128GCMEd25519)
	leaf := newPerson(t, s).leaf.Append([]byte{1, typeLeaf})
	for name, in := range map[string][]byte{
		"blanks":                 wire.AppendVec(nil, append(make([]byte, MaxLeaves/4), leaf...)),
		"too many blanks":        wire.AppendVec(nil, make([]byte, 8*MaxLeaves)),
		"one leaf again and on":  wire.AppendVec(nil, bytes.TrimSuffix(bytes.Repeat(append(leaf, 0), 1<<8), []byte{0})),
		"huge vector":            {0xbf, 0xff, 0xff, 0xff},
		"huge in a leaf":         append([]byte{0x80, 0x01, 0x00, 0x00, 1, typeLeaf}, 0xbf, 0xff, 0xff, 0xff),
		"a parent of all leaves": wire.AppendVec(nil, slices.Concat(leaf, allUnmerged(), leaf)),
	} {
		bounded(t, name, len(in), treeFactor, func() {
			if tree, err := Parse(s, in); err == nil {
				_ = tree.Validate(testGroup)
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for name, c := range map[string]struct {
		codec codec
		in    []byte
	}{
		"keys":             {privateCodec, slices.Concat([]byte{0, 1, 0, 1, 0, 0, 0, 0}, wire.AppendVec(nil, bytes.Repeat([]byte{0, 0, 0, 1, 0, 0}, 9000)))},
		"unmerged leaves":  {parentCodec, allUnmerged()[2:]},
		"nodes of a path":  {pathCodec, append(leaf[2:], wire.AppendVec(nil, make([]byte, 1<<16))...)},
		"cut off in a key": {leafCodec, leaf[2:40]},
	} {
		bounded(t, name, len(c.in), memoryFactor, func() { _, _ = c.codec(c.in) })
	}
}

// allUnmerged is a parent node whose unmerged leaves are all that there can be.
func allUnmerged() []byte {
	p := &ParentNode{EncryptionKey: []byte("key")}
	for i := range LeafIndex(MaxLeaves) {
		p.UnmergedLeaves = append(p.UnmergedLeaves, i)
	}
	return p.Append([]byte{1, typeParent})
}

func fuzzCodec(f *testing.F, c codec) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		var err error
		bounded(t, "input", len(b), memoryFactor, func() { again, err = c(b) })
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func FuzzLeafNode(f *testing.F) {
	p := newPerson(f, mustSuite(f, suite.Secp256k1ChaCha20Poly1305))
	f.Add(p.leaf.Append(nil))
	p.leaf.Credential = Credential{CredentialX509, []byte{1, 7}}
	p.leaf.Source, p.leaf.ParentHash = SourceCommit, []byte("hash")
	p.leaf.Extensions = Extensions{{1, []byte("id")}, {0xF0E1, nil}}
	f.Add(p.leaf.Append(nil))
	fuzzCodec(f, leafCodec)
}

func FuzzParentNode(f *testing.F) {
	f.Add((&ParentNode{[]byte("key"), []byte("hash"), []LeafIndex{1, 5}}).Append(nil))
	fuzzCodec(f, parentCodec)
}

func FuzzUpdatePath(f *testing.F) {
	p := newPerson(f, mustSuite(f, suite.Secp256k1ChaCha20Poly1305))
	f.Add((&UpdatePath{p.leaf, []UpdatePathNode{{[]byte("key"), []Ciphertext{{[]byte("enc"), []byte("ct")}}}}}).Append(nil))
	fuzzCodec(f, pathCodec)
}

func FuzzPrivate(f *testing.F) {
	w := newWorld(f, mustSuite(f, suite.Secp256k1ChaCha20Poly1305), 3).full(f)
	f.Add(w.privates[1].Marshal().Bytes())
	fuzzCodec(f, privateCodec)
}

// A tree from anyone can be validated, changed and hashed without a panic, and
// what it keeps of its keys stays right.
func FuzzTree(f *testing.F) {
	s := mustSuite(f, suite.X25519AES128GCMEd25519)
	// Small seeds: the fuzzer minimises what it finds in time quadratic in it.
	w := newWorld(f, s, 2)
	f.Add(w.tree.Append(nil), uint32(0))
	f.Add(w.full(f).tree.Append(nil), uint32(1))
	leaf, parent := (&LeafNode{Source: SourceUpdate}).Append([]byte{1, typeLeaf}), (&ParentNode{UnmergedLeaves: []LeafIndex{1}}).Append([]byte{1, typeParent})
	f.Add(wire.AppendVec(nil, slices.Concat(leaf, parent, leaf, []byte{0, 0, 0}, leaf)), uint32(3))
	stranger := newPerson(f, s)
	f.Fuzz(func(t *testing.T, b []byte, i uint32) {
		var tree *Tree
		var err error
		bounded(t, "tree", len(b), treeFactor, func() {
			if tree, err = Parse(s, b); err == nil {
				_ = tree.Validate(testGroup)
			}
		})
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(tree.Append(nil), b) {
			t.Fatal("re-encodes differently")
		}
		for _, step := range tree.filteredPath(LeafIndex(i) % LeafIndex(tree.Width())) {
			tree.targets(step, map[LeafIndex]bool{1: true})
		}
		_ = tree.Merge(testGroup, LeafIndex(i), &UpdatePath{Leaf: stranger.leaf}, nil)
		_ = tree.Update(LeafIndex(i), stranger.leaf)
		if _, err := tree.Add(stranger.leaf); err != nil {
			t.Fatal(err)
		}
		for j := range tree.Clone().Leaves() {
			if err := tree.Remove(j); err != nil {
				t.Fatal(err)
			}
			tree.Hash()
		}
		if tree.Members() != 0 || tree.Width() != 1 || tree.keys.size() != 0 {
			t.Fatalf("%d members, %d leaves, %d keys after all were removed", tree.Members(), tree.Width(), tree.keys.size())
		}
	})
}
