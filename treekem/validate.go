package treekem

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Validate checks a whole tree that came from another (RFC 9420, Section
// 12.4.3.1): every leaf by itself with its signature, the members together,
// unmerged leaves, and parent hashes. It uses the processor's cores and returns
// [ErrTree], [ErrLeaf], [ErrSignature] or [ErrDuplicateKey].
func (t *Tree) Validate(groupID []byte) error {
	if err := t.CheckMembers(); err != nil {
		return err
	}
	type place struct {
		x NodeIndex
		n *node
	}
	var nodes []place
	t.walk(t.top, root(t.Width()), func(x NodeIndex, n *node) bool {
		if !n.blank() {
			nodes = append(nodes, place{x, n})
		}
		return true
	})
	return parallel(len(nodes), func(k int) error {
		x, n := nodes[k].x, nodes[k].n
		if n.parent != nil {
			return t.validateParent(n, x)
		}
		if err := n.leaf.Check(t.suite); err != nil {
			return fmt.Errorf("leaf %d: %w", x.Leaf(), err)
		}
		if err := n.leaf.Verify(t.suite, groupID, x.Leaf()); err != nil {
			return fmt.Errorf("leaf %d: %w", x.Leaf(), err)
		}
		return nil
	})
}

func (t *Tree) validateParent(n *node, x NodeIndex) error {
	if t.suite.CheckHPKEKey(n.parent.EncryptionKey) != nil {
		return fmt.Errorf("%w: node %d has an unusable key", ErrTree, x)
	}
	if err := t.validateUnmerged(n, x); err != nil {
		return err
	}
	if !t.chained(n, n.left, x.left(), n.right, x.right()) && !t.chained(n, n.right, x.right(), n.left, x.left()) {
		return fmt.Errorf("%w: no node below %d has its parent hash", ErrTree, x)
	}
	return nil
}

// validateUnmerged checks that every unmerged leaf of a parent is a member
// below it, and unmerged in every parent between. That they are in order was
// checked when they were read.
func (t *Tree) validateUnmerged(n *node, x NodeIndex) error {
	unmerged := n.parent.UnmergedLeaves
	if len(within(unmerged, x)) != len(unmerged) {
		return fmt.Errorf("%w: an unmerged leaf of node %d is not below it", ErrTree, x)
	}
	for _, i := range unmerged {
		m, at := n, x
		for !at.IsLeaf() {
			if i.Node() < at {
				m, at = m.left, at.left()
			} else {
				m, at = m.right, at.right()
			}
			if m.parent != nil && !contains(m.parent.UnmergedLeaves, i) {
				return fmt.Errorf("%w: leaf %d is unmerged in node %d but not in %d", ErrTree, i, x, at)
			}
		}
		if m.leaf == nil {
			return fmt.Errorf("%w: unmerged leaf %d of node %d is blank", ErrTree, i, x)
		}
	}
	return nil
}

// chained reports whether parent n was set by a commit from below its child c,
// with s the other child: whether exactly one node of c's resolution is not
// unmerged in n, all unmerged leaves of n below c are in that resolution, and
// that node has the parent hash of n (RFC 9420, Section 7.9.2).
func (t *Tree) chained(n, c *node, cx NodeIndex, s *node, sx NodeIndex) bool {
	unmerged := n.parent.UnmergedLeaves
	var last *node
	size := 0
	unique := t.resolve(c, cx, func(x NodeIndex, m *node) bool {
		size++
		if x.IsLeaf() && contains(unmerged, x.Leaf()) {
			return true
		}
		if last != nil {
			return false
		}
		last = m
		return true
	})
	if !unique || last == nil || len(within(unmerged, cx)) != size-1 {
		return false
	}
	h := hasher{suite: t.suite}
	sibling := h.without(s, sx, within(unmerged, sx))
	return bytes.Equal(last.parentHash(), t.parentHash(n.parent.EncryptionKey, n.parent.ParentHash, sibling))
}

// resolve visits the resolution of n in its order (RFC 9420, Section 4.1.1),
// until visit returns false; then it returns false.
func (t *Tree) resolve(n *node, x NodeIndex, visit func(NodeIndex, *node) bool) bool {
	switch {
	case n.used == 0:
		return true
	case n.blank():
		return t.resolve(n.left, x.left(), visit) && t.resolve(n.right, x.right(), visit)
	}
	if !visit(x, n) {
		return false
	}
	for _, i := range n.unmerged() {
		// In a tree not yet validated an unmerged leaf can be anywhere, or blank.
		if uint32(i) >= t.Width() {
			continue
		}
		if l := t.leafNode(i); l.leaf != nil && !visit(i.Node(), l) {
			return false
		}
	}
	return true
}

// parallel calls f for 0 to n-1 on as many goroutines as there are processors,
// waits for all, and returns the error of the lowest number. f must not write
// to anything shared.
func parallel(n int, f func(int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		wait  sync.WaitGroup
		mu    sync.Mutex
		at    = n
		first error
	)
	for range workers {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					mu.Lock()
					if i < at {
						at, first = i, err
					}
					mu.Unlock()
					next.Store(int64(n)) // lower numbers are already taken and will finish
					return
				}
			}
		})
	}
	wait.Wait()
	return first
}
