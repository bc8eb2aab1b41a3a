package ratchet

import "github.com/parley-im/parley/internal/secret"

// TagEntry is a tag that a session expects.
type TagEntry struct {
	Tag   Tag
	Chain uint32 // number of the receiving chain, from 1
	N     uint32 // number of the message in it
}

// ReceiveTags returns the tags of the next window messages of the current
// receiving chain, and of the first window messages of the chain after it, for
// an index from tags to sessions. A window beyond [MaxWindow] is cut to it.
func (s *Session) ReceiveTags(window int) []TagEntry {
	window = clampWindow(window)
	out := appendTags(nil, s.hkr, s.recvChain, s.nr, s.nr+uint64(window))
	return appendTags(out, s.nhkr, s.recvChain+1, 0, uint64(window))
}

// TagDiff returns what to add to and what to drop from an index that holds
// old.ReceiveTags(window), to make it hold s.ReceiveTags(window); s is a later
// state of old, which is not erased yet, or old is nil. Its cost is that of the
// entries it returns.
func (s *Session) TagDiff(old *Session, window int) (add, drop []TagEntry) {
	if old == nil {
		return s.ReceiveTags(window), nil
	}
	w := uint64(clampWindow(window))
	if s.recvChain == old.recvChain {
		drop = appendTags(nil, old.hkr, old.recvChain, old.nr, min(s.nr, old.nr+w))
		add = appendTags(nil, s.hkr, s.recvChain, max(old.nr+w, s.nr), s.nr+w)
		return add, drop
	}
	drop = appendTags(nil, old.hkr, old.recvChain, old.nr, old.nr+w)
	if s.recvChain == old.recvChain+1 { // what was next is current now
		drop = appendTags(drop, old.nhkr, s.recvChain, 0, min(s.nr, w))
		add = appendTags(nil, s.hkr, s.recvChain, max(w, s.nr), s.nr+w)
	} else {
		drop = appendTags(drop, old.nhkr, old.recvChain+1, 0, w)
		add = appendTags(nil, s.hkr, s.recvChain, s.nr, s.nr+w)
	}
	return appendTags(add, s.nhkr, s.recvChain+1, 0, w), drop
}

func clampWindow(w int) int { return max(0, min(w, MaxWindow)) }

// appendTags appends the tags of messages from up to before end of a chain. It
// appends nothing for a chain whose header key is not known.
func appendTags(out []TagEntry, hk secret.Key, chain uint32, from, end uint64) []TagEntry {
	if hk.IsZero() || from >= end {
		return out
	}
	key := tagKey(hk)
	for n := from; n < end && n <= maxN; n++ {
		out = append(out, TagEntry{Tag: messageTag(key, uint32(n)), Chain: chain, N: uint32(n)})
	}
	return out
}
