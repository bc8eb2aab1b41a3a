package agree

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/parley-im/parley/internal/secp"
	"github.com/parley-im/parley/internal/vectors"
)

//go:generate go test . -count=1 -run Vectors$ -agree.vectors

var makeVectors = flag.Bool("agree.vectors", false, "make the test vectors that are missing in testdata")

// readVectors returns what a file of testdata has; with -agree.vectors a file that is
// not there is made first. Files that are there are never made anew.
func readVectors[T any](t *testing.T, name string, maker func() []T) []T {
	t.Helper()
	file := filepath.Join("testdata", name)
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) && *makeVectors {
		if data, err = json.MarshalIndent(maker(), "", " "); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(file, append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(out) == 0 {
		t.Fatalf("%s: no cases", file)
	}
	return out
}

type leafVector struct {
	Account vectors.Hex `json:"account"`
	Device  vectors.Hex `json:"device"`
	Added   vectors.Hex `json:"added"`
}

type nodeVector struct {
	CID     vectors.Hex  `json:"cid"`
	Parent  vectors.Hex  `json:"parent"`
	Author  vectors.Hex  `json:"author"`
	Device  vectors.Hex  `json:"device"`
	Class   Class        `json:"class"`
	Removed []leafVector `json:"removed"`
	Added   []leafVector `json:"added"`
}

type voteVector struct {
	Account vectors.Hex `json:"account"`
	Device  vectors.Hex `json:"device"`
	Seq     uint64      `json:"seq"`
	Head    vectors.Hex `json:"head"`
}

type accusedVector struct {
	Parent vectors.Hex `json:"parent"`
	Device vectors.Hex `json:"device"`
}

type choiceVector struct {
	GroupID vectors.Hex     `json:"group_id"`
	Root    vectors.Hex     `json:"root"`
	Members []leafVector    `json:"members"`
	Nodes   []nodeVector    `json:"nodes"`
	Votes   []voteVector    `json:"votes"`
	Covered []leafVector    `json:"covered"`
	Accused []accusedVector `json:"equivocations"`
	Chain   []vectors.Hex   `json:"chain"`
	Settled int             `json:"settled"`
}

func leafOut(l Leaf) leafVector {
	return leafVector{vectors.Hex(l.Account), l.Device[:], l.Added[:]}
}

func (v leafVector) leaf() Leaf {
	return Leaf{Account(v.Account), Device(v.Device), OrderID(v.Added)}
}

func leavesOut(ls []Leaf) []leafVector {
	out := []leafVector{}
	for _, l := range ls {
		out = append(out, leafOut(l))
	}
	return out
}

func leavesIn(vs []leafVector) (out []Leaf) {
	for _, v := range vs {
		out = append(out, v.leaf())
	}
	return out
}

func choiceOut(s *situation, c Choice) choiceVector {
	v := choiceVector{
		GroupID: vectors.Hex(s.root[:]), Root: s.root[:], Members: leavesOut(s.members),
		Nodes: []nodeVector{}, Votes: []voteVector{}, Covered: []leafVector{}, Accused: []accusedVector{}, Settled: c.Settled,
	}
	for _, n := range s.nodes {
		v.Nodes = append(v.Nodes, nodeVector{n.CID[:], n.Parent[:], vectors.Hex(n.Author), n.Device[:], n.Class, leavesOut(n.Removed), leavesOut(n.Added)})
	}
	for _, b := range s.votes {
		v.Votes = append(v.Votes, voteVector{vectors.Hex(b.Account), b.Device[:], b.Seq, b.Head[:]})
	}
	for l := range s.covered {
		v.Covered = append(v.Covered, leafOut(l))
	}
	for _, a := range s.accused {
		v.Accused = append(v.Accused, accusedVector{a.parent[:], a.device[:]})
	}
	for _, cid := range c.Chain {
		v.Chain = append(v.Chain, cid[:])
	}
	return v
}

func (v *choiceVector) situation() *situation {
	s := &situation{root: CID(v.Root), seed: FirstSeed(v.GroupID), members: leavesIn(v.Members), covered: map[Leaf]bool{}}
	for _, n := range v.Nodes {
		s.nodes = append(s.nodes, Node{CID: CID(n.CID), Parent: CID(n.Parent), Author: Account(n.Author), Device: Device(n.Device), Class: n.Class, Removed: leavesIn(n.Removed), Added: leavesIn(n.Added)})
	}
	for _, b := range v.Votes {
		s.votes = append(s.votes, Vote{Account(b.Account), Device(b.Device), b.Seq, CID(b.Head)})
	}
	for _, l := range leavesIn(v.Covered) {
		s.covered[l] = true
	}
	for _, a := range v.Accused {
		s.accused = append(s.accused, accusation{CID(a.Parent), Device(a.Device)})
	}
	return s
}

// makeChoices makes small random cases: those with a branch that is left.
func makeChoices() (out []choiceVector) {
	for seed := uint64(0); len(out) < 8; seed++ {
		s := randomSituation(rand.New(rand.NewPCG(seed, 7)))
		c := newOracle(s).choose()
		if len(s.nodes) < 9 && len(c.Chain) > 2 && len(c.Chain)-1 < len(s.nodes) && (len(out) >= 4 || c.Settled > 1) {
			out = append(out, choiceOut(s, c))
		}
	}
	return out
}

func TestChoiceVectors(t *testing.T) {
	for i, v := range readVectors(t, "choice.json", makeChoices) {
		c := v.situation().choose()
		var chain []vectors.Hex
		for _, cid := range c.Chain {
			chain = append(chain, cid[:])
		}
		if !reflect.DeepEqual(chain, v.Chain) || c.Settled != v.Settled {
			t.Errorf("case %d: chose %v, %d settled", i, c.Chain, c.Settled)
		}
	}
}

// signedVector is one of the forms that members sign, of town's keys.
type signedVector struct {
	Form       string      `json:"form"`
	Encoded    vectors.Hex `json:"encoded"`
	Label      string      `json:"label"`
	SignedPart vectors.Hex `json:"signed_part"`
	PublicKey  vectors.Hex `json:"public_key"`
	Signature  vectors.Hex `json:"signature"`
	ID         vectors.Hex `json:"id"` // of an order
}

func makeSigned() []signedVector {
	town := newTown(3)
	s := town.statement(1, 1, 7, 2)
	a := town.announcement(1, 0, 2, "key")
	o := town.order(Order{Issuer: accountOf(0), Basis: cidOf(1), Kind: OrderAdd, Target: "someone", Payload: []byte("key package"), Heads: []OrderID{orderOf(1), orderOf(2)}})
	id := o.ID()
	public := func(d Device) []byte { return town.devices[d].PublicKey().Bytes() }
	return []signedVector{
		{"statement", s.Marshal(), LabelStatement, s.SignedPart(), public(s.Device), s.Signature, nil},
		{"statement", s.Marshal(), LabelBeacon, s.SignedPart(), town.beacons[s.Head].PublicKey().Bytes(), s.BeaconSignature, nil},
		{"announcement", a.Marshal(), LabelAnnouncement, a.SignedPart(), public(a.Device), a.Signature, nil},
		{"order", o.Marshal(), LabelOrder, o.SignedPart(), public(o.Device), o.Signature, id[:]},
	}
}

func TestSignedVectors(t *testing.T) {
	for i, v := range readVectors(t, "signed.json", makeSigned) {
		var part, sig, id []byte
		switch v.Form {
		case "statement":
			s, err := ParseStatement(v.Encoded)
			if err != nil {
				t.Fatal(err)
			}
			part, sig = s.SignedPart(), s.Signature
			if v.Label == LabelBeacon {
				sig = s.BeaconSignature
			}
		case "announcement":
			a, err := ParseAnnouncement(v.Encoded)
			if err != nil {
				t.Fatal(err)
			}
			part, sig = a.SignedPart(), a.Signature
		case "order":
			o, err := ParseOrder(v.Encoded)
			if err != nil {
				t.Fatal(err)
			}
			part, sig = o.SignedPart(), o.Signature
			name := o.ID()
			id = name[:]
		default:
			t.Fatalf("case %d: form %q", i, v.Form)
		}
		if !bytes.Equal(part, v.SignedPart) || !bytes.Equal(sig, v.Signature) || !bytes.Equal(id, v.ID) {
			t.Errorf("case %d: decodes to something else", i)
		}
		key, err := secp.ParsePublicKey(v.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Verify(v.Label, v.SignedPart, v.Signature); err != nil {
			t.Errorf("case %d: %v", i, err)
		}
	}
}
