//go:build race

package treekem

// stride is which part of the published cases runs: under the race detector,
// which makes their arithmetic twenty times slower, each fourth.
const stride = 4
