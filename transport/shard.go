package transport

import (
	"errors"
	"fmt"
)

// ErrNetwork is returned for a network name that is empty, longer than
// MaxNetworkName, or has other characters than a-z, 0-9, '-' and '.'.
var ErrNetwork = errors.New("transport: bad network name")

// Topic is the gossipsub topic of a shard: "/parley/1/<network>/shard/<i>".
func Topic(network string, shard int) string {
	return fmt.Sprintf("/parley/1/%s/shard/%d", network, shard)
}

// ShardOf returns the shard of a conversation: the first byte of a hash of its
// secret, modulo the n shards of the network. n is 1 to MaxShards.
func ShardOf(hash [32]byte, n int) int { return int(hash[0]) % n }

func checkNetwork(name string) error {
	if name == "" || len(name) > MaxNetworkName {
		return fmt.Errorf("%w: it has %d characters", ErrNetwork, len(name))
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return fmt.Errorf("%w: %q", ErrNetwork, name)
		}
	}
	return nil
}
