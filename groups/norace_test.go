//go:build !race

package groups

const (
	passiveStride = 1
	walks         = 6
)
