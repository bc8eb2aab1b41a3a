//go:build !race

package groups

const (
	passiveStride = 1
	fewHistories  = 6
)

const raceEnabled = false
