//go:build race

package groups

// Under the race detector, which makes curves slow, the longest tests run a
// part of their cases: the stride is coprime to the cases of each suite, so
// that every suite and kind is met.
const (
	passiveStride = 5
	fewHistories  = 2
)

const raceEnabled = true
