// Package transport carries opaque envelopes between peers. It is a libp2p
// host whose key is a secp256k1 key, gossipsub over a fixed set of shards, and
// two stream protocols: one for records that prove themselves (an account's log
// and bundle), one for envelopes that were missed.
//
// Start with [Open], which listens, subscribes and begins to dial. [Node.Publish]
// sends an [Envelope] to everyone on a shard, [Node.Envelopes] is what arrives.
// [Index] finds what an arriving envelope belongs to by its tag.
//
// The package knows no identity, session or group, and sees no plaintext: a body
// is bytes of one of five lengths. It does not authenticate envelopes, does not
// keep them, and does not promise delivery: whoever publishes retries until an
// acknowledgement comes, with [Envelope.Reseal].
package transport
