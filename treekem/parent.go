package treekem

import (
	"bytes"
	"fmt"

	"github.com/parley-im/parley/internal/wire"
)

// ParentNode is an inner node of the tree (RFC 9420, Section 7.1). Once in a
// tree it is shared between clones and must not be changed.
type ParentNode struct {
	EncryptionKey  []byte
	ParentHash     []byte
	UnmergedLeaves []LeafIndex // strictly increasing
}

// Append appends the node's encoding.
func (p *ParentNode) Append(b []byte) []byte {
	b = wire.AppendVec(b, p.EncryptionKey)
	b = wire.AppendVec(b, p.ParentHash)
	b = wire.AppendVarint(b, 4*len(p.UnmergedLeaves))
	for _, i := range p.UnmergedLeaves {
		b = wire.AppendUint32(b, uint32(i))
	}
	return b
}

// ReadParentNode reads a parent node, copying what it keeps. Errors stick to r;
// unmerged leaves out of order, twice, or beyond [MaxLeaves] are
// [ErrMalformed].
func ReadParentNode(r *wire.Reader) *ParentNode {
	p := viewParentNode(r)
	p.EncryptionKey = bytes.Clone(p.EncryptionKey)
	p.ParentHash = bytes.Clone(p.ParentHash)
	return p
}

// viewParentNode is ReadParentNode, but keys and hashes refer into the input.
func viewParentNode(r *wire.Reader) *ParentNode {
	p := &ParentNode{EncryptionKey: r.VecMax(MaxKey), ParentHash: r.VecMax(MaxKey)}
	sub := wire.NewReader(r.VecMax(4 * MaxLeaves))
	if n := sub.Len() / 4; n > 0 {
		p.UnmergedLeaves = make([]LeafIndex, 0, n)
	}
	for sub.More() {
		i := LeafIndex(sub.Uint32())
		if n := len(p.UnmergedLeaves); i >= MaxLeaves || (n > 0 && i <= p.UnmergedLeaves[n-1]) {
			sub.Fail(fmt.Errorf("%w: unmerged leaves are not in order", ErrMalformed))
		}
		p.UnmergedLeaves = append(p.UnmergedLeaves, i)
	}
	r.Join(sub)
	return p
}
