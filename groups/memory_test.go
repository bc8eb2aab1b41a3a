package groups

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/parley-im/parley/internal/secret"
	"github.com/parley-im/parley/internal/suite"
	"github.com/parley-im/parley/internal/wire"
	"github.com/parley-im/parley/treekem"
)

// What bytes from a peer make this package allocate, in all and not at a time,
// is at most a factor times their number, and memoryBase for what work on a
// small group costs anyway. A ratchet tree has a factor of its own: a blank is
// one byte, and is a node, with a hash, in a tree that is filled up to a power of
// two.
const (
	memoryFactor = 256
	treeFactor   = 2048
	memoryBase   = 2 << 20
)

// bounded runs f, which decodes or processes n bytes.
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
func TestHungryInputs(t *testing.T) {
	list := func(n int, element ...byte) []byte { return wire.AppendVec(nil, bytes.Repeat(element, n)) }
	const many = 20_000
	s, err := suite.ByID(suite.X25519AES128GCMEd25519)
	if err != nil {
		t.Fatal(err)
	}
	leaf := (&LeafNode{Source: treekem.SourceUpdate}).Append([]byte{1, 1})
	framed := func(wireFormat byte, content ContentType, body []byte) []byte {
		c := framedContent{groupID: []byte("g"), sender: member(0), contentType: ContentApplication}
		head := c.append(nil)
		return slices.Concat([]byte{0, 1, 0, wireFormat}, head[:len(head)-2], []byte{byte(content)}, body)
	}
	for name, c := range map[string]struct {
		of string
		in []byte
	}{
		"references":             {"commit", append(list(MaxProposals, 2, 0), 0)},
		"self-removes":           {"commit", append(list(MaxProposals, 1, 0, 10), 0)},
		"removes":                {"commit", append(list(MaxProposals, 1, 0, 3, 0, 0, 0, 0), 0)},
		"too many references":    {"commit", append(list(many, 2, 0), 0)},
		"pre-shared keys":        {"commit", append(list(MaxProposals, 1, 0, 4, 1, 0, 0), 0)},
		"extensions":             {"proposal", append([]byte{0, 7}, list(many, 0, 9, 0)...)},
		"re-init extensions":     {"proposal", slices.Concat([]byte{0, 5, 0, 0, 1, 0, 1}, list(many, 0, 9, 0))},
		"context extensions":     {"group context", slices.Concat([]byte{0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, list(many, 0, 9, 0))},
		"required types":         {"required capabilities", slices.Concat(list(many, 0, 9), list(many, 0, 9), list(many, 0, 9))},
		"admins":                 {"roles", slices.Concat([]byte{0, 1, 1, 1, 1, 1, 1}, list(many, 0))},
		"keys of group secrets":  {"group secrets", slices.Concat([]byte{0, 0}, list(many, 1, 0, 0))},
		"welcome for many":       {"message", slices.Concat([]byte{0, 1, 0, 3, 0, 1}, list(many, 0, 0, 0), []byte{0})},
		"capabilities":           {"proposal", slices.Concat([]byte{0, 2, 0, 0, 0, 1, 0}, list(many, 0, 1), list(many, 0, 1), list(1), list(1), list(1), []byte{2, 0, 0})},
		"path of empty nodes":    {"commit", slices.Concat([]byte{0, 1}, leaf[2:], list(many, 0, 0))},
		"ciphertexts of a path":  {"commit", slices.Concat([]byte{0, 1}, leaf[2:], wire.AppendVec(nil, append([]byte{0}, list(many, 0, 0)...)))},
		"a public commit":        {"message", framed(1, ContentCommit, append(list(MaxProposals, 2, 0), 0, 0, 0, 0))},
		"a huge application":     {"message", framed(1, ContentApplication, list(MaxApplicationData, 7))},
		"external senders":       {"external senders", list(many, 0, 0, 1, 0)},
		"a vector that is short": {"message", []byte{0, 1, 0, 2, 0xbf, 0xff, 0xff, 0xff}},
	} {
		bounded(t, name, len(c.in), memoryFactor, func() { _, _ = wireTypes[c.of](c.in) })
	}
	for name, in := range map[string][]byte{
		"blanks":   wire.AppendVec(nil, append(make([]byte, 1<<13), leaf...)),
		"leaves":   wire.AppendVec(nil, bytes.Repeat(append(leaf, 0), 1<<10)[:(len(leaf)+1)<<10-1]),
		"too many": wire.AppendVec(nil, make([]byte, 1<<20)),
	} {
		bounded(t, "tree of "+name, len(in), treeFactor, func() {
			if tree, err := treekem.Parse(s, in); err == nil {
				_ = tree.Validate([]byte("g"))
			}
		})
	}
	stored := slices.Concat([]byte{stateVersion}, make([]byte, 32), list(many, 1))
	bounded(t, "stored state", len(stored), memoryFactor, func() { _, _ = UnmarshalPast(secret.Copy(stored)) })
}
