//go:build !race

package treekem

// stride is which part of the published cases runs: all.
const stride = 1
