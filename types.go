package parley

import (
	"time"
)

// Info describes the profile a client runs on.
type Info struct {
	Address   string   `json:"address"`           // EIP-55
	Name      string   `json:"name,omitempty"`    // ENS name given at init, or found by reverse record
	Device    string   `json:"device"`            // the device's name
	DeviceID  string   `json:"deviceId"`          // hex of the device's link digest
	PeerID    string   `json:"peerId"`            // libp2p peer id of the device's host key
	Addrs     []string `json:"addrs"`             // full multiaddrs, with /p2p; empty before the network is up
	Peers     int      `json:"peers"`             // peers connected now
	Devices   []string `json:"devices"`           // names of the account's active devices
	Network   string   `json:"network,omitempty"` // name of the network
	Connected bool     `json:"connected"`         // at least one peer hears what is sent
}

// State is how far an outgoing message has come.
type State string

// The states of an outgoing message, in their order. An incoming message is
// always Received.
const (
	// Queued: in the outbox on disk; nobody has heard it yet.
	Queued State = "queued"
	// Sent: at least one peer of the network took it.
	Sent State = "sent"
	// Delivered: the recipient's device acknowledged it end to end. In a group
	// a message stays Sent.
	Delivered State = "delivered"
	// Read: the recipient said so.
	Read State = "read"
	// Received: came from someone else.
	Received State = "received"
)

// Message is one line of a conversation, in either direction.
type Message struct {
	Cursor  Cursor    `json:"cursor,omitzero"` // in events; zero in lists
	ID      MessageID `json:"id"`
	From    Peer      `json:"from"`
	To      *Peer     `json:"to,omitempty"`    // in a pair
	Group   *GroupRef `json:"group,omitempty"` // in a group
	Own     bool      `json:"own"`             // written by this account
	Time    time.Time `json:"time"`            // when this client stored it, not what the sender claims
	State   State     `json:"state"`
	Content Content   `json:"content"`
}

// Peer is the other side, or the author of a message.
type Peer struct {
	Address string `json:"address"`        // EIP-55
	Name    string `json:"name,omitempty"` // ENS name, when pinned here or by a checked reverse record
}

// String returns the name, or the address when there is none.
func (p Peer) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Address
}

// GroupRef names a group.
type GroupRef struct {
	ID   string `json:"id"` // hex of the MLS group id
	Name string `json:"name"`
}

// Member is one account of a group.
type Member struct {
	Peer
	Admin    bool   `json:"admin"`
	Self     bool   `json:"self,omitempty"`
	Leaf     uint32 `json:"leaf"`
	Verified bool   `json:"verified"` // its log was seen and authorises the leaf's device
}

// Group is a group as this client sees it now.
type Group struct {
	GroupRef
	Purpose string   `json:"purpose,omitempty"` // see GroupOptions
	Epoch   uint64   `json:"epoch"`
	Head    string   `json:"head"`    // hex of the commit hash that began the epoch
	Status  string   `json:"status"`  // "active", "removed", "left"
	Creator bool     `json:"creator"` // this client commits
	Members []Member `json:"members"`
}

// GroupOptions are the optional parts of a new group; the zero value works.
type GroupOptions struct {
	// Purpose is for applications: it says which of them the group belongs to,
	// and what it is about, such as "im.parley.safe/eip155:1:0x…". Every member
	// sees it, as the creator wrote it. At most [MaxTypeName] bytes that print;
	// empty for people who talk.
	Purpose string `json:"purpose,omitempty"`
}

// Receipt is what Send and its like return.
type Receipt struct {
	ID    MessageID `json:"id"`
	State State     `json:"state"`
}

// Cursor is a position in the client's stream of events. It grows by time and
// survives restarts; zero is before the first.
type Cursor uint64

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventMessage EventKind = "message" // Message holds one, incoming or own
	EventState   EventKind = "state"   // Message's State changed
	EventGroup   EventKind = "group"   // Group changed; Text says how
	EventAlert   EventKind = "alert"   // Text is for a person: a name, a log or a device changed
)

// Event is one entry of the stream that Subscribe gives.
type Event struct {
	Cursor  Cursor    `json:"cursor"`
	Kind    EventKind `json:"kind"`
	Time    time.Time `json:"time"`
	Message *Message  `json:"message,omitempty"`
	Group   *GroupRef `json:"group,omitempty"`
	// Change is a word for programs: "created", "joined", "added", "removed",
	// "left", "updated", "gone" (this client was removed).
	Change string `json:"change,omitempty"`
	Peers  []Peer `json:"peers,omitempty"` // whom the change concerns
	Epoch  uint64 `json:"epoch,omitempty"`
	Text   string `json:"text,omitempty"`
}

// SendOptions are the optional parts of a send; the zero value works.
type SendOptions struct {
	// IdempotencyKey makes a repeated send return the first one's receipt. At
	// most 64 bytes; empty is none.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}
