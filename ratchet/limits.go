package ratchet

import (
	"slices"
	"time"
)

// Limits. What a peer sends is compared with them before it costs anything.
const (
	// MaxSkip is how many messages of one chain may be skipped at a time.
	MaxSkip = 1000
	// MaxStored is how many skipped keys are stored for one session.
	MaxStored = 2000
	// SkippedLifetime is how long a skipped key can be used.
	SkippedLifetime = 14 * 24 * time.Hour
	// SimultaneousGrace is how long the session that [Preferred] did not choose
	// is kept for receiving.
	SimultaneousGrace = 24 * time.Hour
	// LateWeeks is how many weeks late a first message may come. A sender
	// repeats the same ciphertext, under the same tag, while it is not answered,
	// and the prekeys it used live for 30 days.
	LateWeeks = 5
	// MaxHello is the largest hello, in bytes: an account log of 32 KiB, framed.
	MaxHello = 33 << 10
	// MaxBody is the largest body, in bytes.
	MaxBody = 60 << 10
	// MaxExt is the largest extension list of a header, in bytes.
	MaxExt = 4 << 10
	// OfferMessages and OfferInterval are when a side offers the peer a new key
	// of the post-quantum ratchet: with the first message after it has sent so
	// many, or after so long, since its last offer was answered. A responder
	// offers with its first message, an initiator not before its first answer.
	OfferMessages = 50
	OfferInterval = 7 * 24 * time.Hour
	// MaxWindow is the largest window of [Session.ReceiveTags].
	MaxWindow = MaxSkip
	// MaxSessionSize is the largest marshalled session, in bytes.
	MaxSessionSize = 40 << 10
)

var bodySizes = [...]int{256, 1 << 10, 4 << 10, 16 << 10, MaxBody}

// BodySizes returns the sizes that bodies have, in bytes, ascending.
func BodySizes() []int { return slices.Clone(bodySizes[:]) }
